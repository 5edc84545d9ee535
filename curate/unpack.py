"""Safe unpacking of downloaded archives into a cache folder, once."""

from __future__ import annotations

import errno
import hashlib
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from medshards.curate.sample import Reject

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CHUNK = 1 << 20
# what reading a damaged archive raises (RuntimeError: a member is encrypted); an OSError is damage too, unless it is
# one of the disk that is written to
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE}


def is_archive(path: Path) -> bool:
    """True for a file whose name says it is a zip or tar archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def cache_folder() -> Path:
    """Where unpacked archives are kept: $MEDSHARDS_CACHE, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MEDSHARDS_CACHE") or Path(base) / "medshards")


def unpack(archive: Path, name: str = "") -> Path:
    """Unpack an archive into the cache and return the folder; a later call finds it there by content.

    The folder appears under its name only when complete. Absolute members, members that lead outside, links
    and devices are refused (`unsafe_archive`); damage is `corrupt_archive`. `name` is used in messages.
    """
    name = name or archive.name
    target = cache_folder() / "unpacked" / _digest(archive)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=target.name[:16] + ".", dir=target.parent))
    try:
        extract(archive, work, name)
        work.replace(target)
    except OSError as e:
        if not target.is_dir():  # else another process was faster
            raise Reject("corrupt_archive", f"cannot be unpacked ({e})", name) from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def extract(archive: Path, folder: Path, name: str = "") -> None:
    """Write the members of an archive below `folder`; what is refused and why, see `unpack`.

    Raises OSError where the folder cannot be written; what was written before stays.
    """
    name = name or archive.name
    try:
        for member, stream in _members(archive, name):
            path = folder / _safe(member, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                shutil.copyfileobj(stream, out, CHUNK)
    except BROKEN as e:
        raise Reject("corrupt_archive", f"cannot be unpacked ({e}); download it again", name) from e
    except OSError as e:
        if e.errno in DISK:
            raise
        raise Reject("corrupt_archive", f"cannot be unpacked ({e}); download it again", name) from e


def _digest(archive: Path) -> str:
    digest = hashlib.sha256()
    with archive.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _members(archive: Path, name: str) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as z:
            for info in z.infolist():
                mode = info.external_attr >> 16
                if stat.S_ISLNK(mode):
                    raise Reject("unsafe_archive", f"member {info.filename!r} is a link", name)
                if not info.is_dir():
                    with z.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(archive) as t:
        for member in t:
            if member.isdir():
                continue
            if not member.isfile():
                raise Reject("unsafe_archive", f"member {member.name!r} is a link or a device", name)
            extracted = t.extractfile(member)
            if extracted is not None:
                yield member.name, extracted


def _safe(member: str, name: str) -> Path:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or not path.parts:
        raise Reject("unsafe_archive", f"member {member!r} would be written outside the folder", name)
    return Path(*path.parts)
