"""Safe unpacking of downloaded archives into a cache folder, once."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from medshards.common.files import locked, sha256_file
from medshards.common.machine import TROUBLE
from medshards.curate.sample import Reject

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CLOSED = (".rar", ".7z")  # archives that are not unpacked here
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DEFLATE64 = 9  # Windows Explorer's, above 2 GB
CHUNK = 1 << 20
RATIO, SMALL = (
    200,
    1 << 30,
)  # no more than so many times an archive's size comes out of it, above so many bytes
# what reading a damaged archive raises; an OSError is damage too, unless it is one of the disk that is written to
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
DISK = TROUBLE | {errno.EACCES, errno.EPERM}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_archive(path: Path) -> bool:
    """True for a file whose name says it is a zip or tar archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def cache_folder() -> Path:
    """Where unpacked archives are kept: $MEDSHARDS_CACHE, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MEDSHARDS_CACHE") or Path(base) / "medshards")


def unpack(archive: Path, name: str = "") -> Path:
    """Unpack an archive into the cache and return the folder; a later call finds it there by content.

    The folder appears under its name only when complete. Refused are members that lead outside, links and devices
    (`unsafe_archive`), two members of one name (`duplicate_file`), what unpacks to suspiciously much
    (`unsafe_archive`), encryption and methods that cannot be read (`closed_archive`), damage (`corrupt_archive`); and
    a cache that cannot be written or is full (`cache`, `no_space`). `name` is used in messages.
    """
    name = name or archive.name
    target = cache_folder() / "unpacked" / sha256_file(archive)
    work = target.with_suffix(".partial")
    try:
        with locked(target.with_suffix(".lock")):
            if not target.is_dir():
                shutil.rmtree(work, ignore_errors=True)  # of an interrupted call
                work.mkdir()
                try:
                    extract(archive, work, name)
                    work.replace(target)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as e:
        code = "no_space" if e.errno in FULL else "cache"
        what = f"the cache folder {cache_folder()} cannot be written ({e.strerror})"
        raise Reject(code, f"{what}; set MEDSHARDS_CACHE to a folder with room", name) from e
    return target


def extract(archive: Path, folder: Path, name: str = "") -> None:
    """Write the members of an archive below `folder`; what is refused and why, see `unpack`.

    Raises OSError where the folder cannot be written; what was written before stays.
    """
    name = name or archive.name
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[Path] = set()
    written = 0
    try:
        for member, size, stream in _members(archive, folder, name):
            place = _safe(member, name)
            if place in seen:
                raise Reject("duplicate_file", f"two members are called {member!r}; unpack it yourself", name)
            seen.add(place)
            written += size
            _require_room(archive, folder, written, size, name)
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                shutil.copyfileobj(stream, out, CHUNK)
    except BROKEN as e:
        raise Reject("corrupt_archive", f"cannot be unpacked ({e}); download it again", name) from e
    except OSError as e:
        if e.errno in DISK:
            raise
        raise Reject("corrupt_archive", f"cannot be unpacked ({e}); download it again", name) from e


def _require_room(archive: Path, folder: Path, total: int, needed: int, name: str) -> None:
    """Look before writing: at the ratio of `total` bytes to the archive's, and at the room for `needed` bytes more."""
    packed = archive.stat().st_size
    if total > max(RATIO * packed, SMALL):
        message = (
            f"its {packed:,} bytes unpack to {total:,} or more, as no archive of images does; not unpacked"
        )
        raise Reject("unsafe_archive", message, name)
    free = shutil.disk_usage(folder).free
    if needed > free:
        message = f"unpacking needs {needed:,} bytes in {folder}, {free:,} are free"
        raise Reject("no_space", f"{message}; set MEDSHARDS_CACHE to a folder with room", name)


def _members(archive: Path, folder: Path, name: str) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of each file in an archive."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as z:
            files = [
                info for info in z.infolist() if not info.filename.endswith(("/", "\\"))
            ]  # "\\": Windows
            size = sum(info.file_size for info in files)
            _require_room(archive, folder, size, size, name)
            for info in files:
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise Reject("unsafe_archive", f"member {info.filename!r} is a link", name)
                _require_readable(info, name)
                with z.open(info) as stream:
                    yield info.filename, info.file_size, stream
        return
    with tarfile.open(archive) as t:
        for member in t:
            if member.isdir():
                continue
            if not member.isfile():
                raise Reject("unsafe_archive", f"member {member.name!r} is a link or a device", name)
            extracted = t.extractfile(member)
            if extracted is not None:
                yield member.name, member.size, extracted


def _require_readable(info: zipfile.ZipInfo, name: str) -> None:
    """Say what to do with a member that another program can unpack."""
    what = "is encrypted; unpack the archive with its password" if info.flag_bits & 1 else ""
    if info.compress_type not in READABLE:
        method = "Deflate64" if info.compress_type == DEFLATE64 else f"method {info.compress_type}"
        what = f"is compressed by {method}, which is not read here; unpack the archive"
    if what:
        message = f"member {info.filename!r} {what} with 7-Zip or unzip, and leave the folder in its place"
        raise Reject("closed_archive", message, name)


def _safe(member: str, name: str) -> Path:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or not path.parts:
        raise Reject("unsafe_archive", f"member {member!r} would be written outside the folder", name)
    return Path(*path.parts)
