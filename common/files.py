"""Files: digests, locks, and writing so that nobody ever sees half of one, not even after a power cut."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def is_url(location: str | Path) -> bool:
    """Whether a corpus or other thing lies at a URL, and in no folder."""
    return "://" in str(location)


def local_path(value: str | Path) -> Path:
    """A path of this machine. Raises ValueError for a URL, which would become a folder named `s3:`."""
    if is_url(value) or re.match(r"[a-z0-9]+:/", str(value)):  # of a URL that was a Path one slash is left
        raise ValueError(f"{value} is a URL, and this must be a path of this machine")
    return Path(value)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """The file appears under its name complete or not at all. data: its content, also in pieces."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.writelines([data] if isinstance(data, bytes) else data)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(path: Path) -> list[Path]:
    """What killed calls of `write_atomically` left beside `path`."""
    return list(path.parent.glob(f".{path.name}.*.tmp"))


def meant(name: str) -> str:
    """The relative path that a file has; of one that a killed `write_atomically` left, the path it was meant for."""
    return re.sub(r"(?<![^/])\.([^/]+)\.\d+\.tmp$", r"\1", name)


@contextmanager
def appearing(target: Path, resume: bool = False) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when all is in it; what was begun and failed is removed.

    resume: it stays instead, and is what the next attempt finds. Raises FileExistsError when something lies there
    already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not empty; choose another folder, or move it away")
    part = target.absolute().with_name(f".{target.absolute().name}.part")
    if part.exists() and not resume:
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=resume)
    try:
        yield part
        if target.exists():
            target.rmdir()
        part.replace(target)
    except BaseException:
        if not resume:
            shutil.rmtree(part, ignore_errors=True)
        raise


_held: set[IO[str]] = set()  # lock files of this process


def _let_go() -> None:
    """A child holds no lock of its parent: it would keep it after the parent's death."""
    for stream in _held:
        stream.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`, which stays: whoever unlinks it lets a second holder in beside those who wait.

    The lock goes with the process. Raises BlockingIOError when it is taken and not to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        _held.add(stream)
        try:
            yield
        finally:
            _held.discard(stream)
            fcntl.flock(stream, fcntl.LOCK_UN)  # closing leaves it to children that have not let go yet
