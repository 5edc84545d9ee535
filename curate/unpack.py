"""Safe unpacking of downloaded archives into a cache folder, once."""

from __future__ import annotations

import errno
import json
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from medshards.common.files import locked, sha256_file, write_atomically
from medshards.common.machine import TROUBLE
from medshards.curate.sample import Reject

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CLOSED = (".rar", ".7z")  # archives that are not unpacked here
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DEFLATE64 = 9  # Windows Explorer's, above 2 GB
CHUNK = 1 << 20
DIGESTS = ".json"  # beside an unpacked archive: SHA-256 of its files by name
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
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_proven: set[Path] = set()  # unpacked archives that this process compared with their digests


def is_archive(path: Path) -> bool:
    """True for a file whose name says it is a zip or tar archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def cache_folder() -> Path:
    """Where unpacked archives are kept: $MEDSHARDS_CACHE, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MEDSHARDS_CACHE") or Path(base) / "medshards")


def unpack(archive: Path, name: str = "") -> Path:
    """Unpack an archive into the cache and return the folder; a later call finds it there by content.

    The folder appears under its name only when complete; what was damaged since is unpacked again. Refused are members
    that lead outside, links and devices (`unsafe_archive`), two members of one name (`duplicate_file`), what unpacks to
    suspiciously much (`unsafe_archive`), encryption and methods that cannot be read (`closed_archive`), damage
    (`corrupt_archive`); a cache that cannot be written or is full (`cache`, `no_space`). `name` is used in refusals,
    which give the place of a member as NAME/MEMBER and quote it nowhere else.
    """
    name = name or archive.name
    target = cache_folder() / "unpacked" / sha256_file(archive)
    try:
        with locked(target.with_suffix(".lock")):
            if not (target.is_dir() and (target in _proven or _whole(target))):
                _unpack(archive, target, name)
            _proven.add(target)
    except OSError as e:
        code = "no_space" if e.errno in FULL else "cache"
        what = f"the cache folder {cache_folder()} cannot be written ({e.strerror})"
        raise Reject(code, f"{what}; set MEDSHARDS_CACHE to a folder with room", name) from e
    return target


def _unpack(archive: Path, target: Path, name: str) -> None:
    work = target.with_suffix(".partial")
    for leftover in (work, target):  # of an interrupted call, or damaged
        shutil.rmtree(leftover, ignore_errors=True)
    work.mkdir()
    try:
        extract(archive, work, name)
        write_atomically(target.with_suffix(DIGESTS), json.dumps(_digests(work)).encode())
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _whole(folder: Path) -> bool:
    """True for an unpacked archive whose files, no more and no less, have the digests that they had at first."""
    try:
        wanted = json.loads(folder.with_suffix(DIGESTS).read_bytes())
        return bool(_digests(folder) == wanted)
    except (FileNotFoundError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in folder.rglob("*") if p.is_file()}


def extract(archive: Path, folder: Path, name: str = "") -> None:
    """Write the members of an archive below `folder`; what is refused and why, see `unpack`.

    Raises OSError where the folder cannot be written; what was written before stays.
    """
    name = name or archive.name
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[Path] = set()
    written, at = 0, name
    try:
        for member, size, content in _members(archive, folder, name):
            at = f"{name}/{member}"
            place = _safe(member, at)
            if place in seen:
                raise Reject("duplicate_file", "two members have this name; unpack the archive yourself", at)
            seen.add(place)
            written += size
            _require_room(archive, folder, written, size, name)
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with content() as stream, path.open("wb") as out:
                shutil.copyfileobj(stream, out, CHUNK)
            at = name
    except (*BROKEN, OSError) as e:
        if isinstance(e, OSError) and e.errno in TROUBLE:
            raise
        what = type(e).__name__ if at != name else str(e)  # which would quote the member's name
        message = f"cannot be unpacked ({what}); download the archive again"
        raise Reject("corrupt_archive", message, at) from e


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


def _members(archive: Path, folder: Path, name: str) -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
    """Name, size and what opens the content of each file in an archive."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as z:
            files = [
                info for info in z.infolist() if not info.filename.endswith(("/", "\\"))
            ]  # "\\": Windows
            size = sum(info.file_size for info in files)
            _require_room(archive, folder, size, size, name)
            for info in files:
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise Reject("unsafe_archive", "is a link", f"{name}/{info.filename}")
                _require_readable(info, f"{name}/{info.filename}")
                yield info.filename, info.file_size, partial(z.open, info)
        return
    with tarfile.open(archive) as t:
        for member in t:
            if member.isdir():
                continue
            if not member.isfile():
                raise Reject("unsafe_archive", "is a link or a device", f"{name}/{member.name}")
            yield member.name, member.size, partial(_extracted, t, member)


def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    assert stream is not None  # it is a file
    return stream


def _require_readable(info: zipfile.ZipInfo, name: str) -> None:
    """Say what to do with a member that another program can unpack."""
    what = "is encrypted; unpack the archive with its password" if info.flag_bits & 1 else ""
    if info.compress_type not in READABLE:
        method = "Deflate64" if info.compress_type == DEFLATE64 else f"method {info.compress_type}"
        what = f"is compressed by {method}, which is not read here; unpack the archive"
    if what:
        message = f"{what} with 7-Zip or unzip, and leave the folder in its place"
        raise Reject("closed_archive", message, name)


def _safe(member: str, name: str) -> Path:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or not path.parts:
        raise Reject("unsafe_archive", "would be written outside the folder", name)
    return Path(*path.parts)
