"""Ranged reads of the shards of a corpus: on a disk, in an object store, or through a local cache of shards."""

from __future__ import annotations

import fcntl
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

OPEN_FILES = 64  # shards a process keeps open


class Store(Protocol):
    """The files of a corpus; ``path`` is relative to it. Errors are OSError."""

    def read(self, path: str) -> bytes:
        """A whole file."""

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; fewer where the file ends."""


class Folder:
    """A corpus on a disk; a range is one ``pread``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        if path not in self._files:
            self._files[path] = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC)
            if len(self._files) > OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(path)
        return os.pread(self._files[path], size, offset)

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}  # another process opens its own files

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]


class Bucket:
    """A corpus behind any URL that fsspec knows (s3://, gs://, https://, memory://); a range is one request."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None

    def read(self, path: str) -> bytes:
        files, root = self._connection()
        return bytes(files.cat_file(f"{root}/{path}"))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        files, root = self._connection()
        return bytes(files.cat_file(f"{root}/{path}", start=offset, end=offset + size))

    def fetch(self, path: str, target: Path) -> None:
        """Download a whole file."""
        files, root = self._connection()
        files.get_file(f"{root}/{path}", str(target))

    def _connection(self) -> tuple[Any, str]:
        import fsspec

        # A connection does not survive a fork: every process opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            files, root = fsspec.core.url_to_fs(self.url, skip_instance_cache=self._opened is not None)
            self._opened = (os.getpid(), files, root)
        return self._opened[1], self._opened[2]

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_opened": None}


class Cached:
    """A bucket whose shards are downloaded once into a local folder of bounded size.

    The folder is shared by all processes of a machine; a shard appears in it complete or not at all. When
    ``limit`` bytes are exceeded, the shards that were used longest ago go first.
    """

    def __init__(self, bucket: Bucket, folder: Path, limit: int) -> None:
        self.bucket, self.limit = bucket, limit
        self.root = folder
        self.root.mkdir(parents=True, exist_ok=True)

    def read(self, path: str) -> bytes:
        return self.bucket.read(path)

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        local = self.root / path.replace("/", "%2F")
        while True:
            try:
                with local.open("rb") as stream:  # a shard that is removed while it is open can still be read
                    os.utime(local)
                    return os.pread(stream.fileno(), size, offset)
            except FileNotFoundError:
                self._fetch(path, local)

    def _fetch(self, path: str, local: Path) -> None:
        lock = self.root / (local.name + ".lock")
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if local.exists():  # another process fetched it while this one waited
                return
            partial = self.root / f".{local.name}.{os.getpid()}.partial"
            try:
                self.bucket.fetch(path, partial)
                self._make_room(partial.stat().st_size)
                partial.replace(local)
            finally:
                partial.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        shards = []
        for shard in self.root.glob("*.tar"):
            with suppress(FileNotFoundError):
                found = shard.stat()
                shards.append((found.st_mtime_ns, found.st_size, shard))
        used = sum(bytes_ for _, bytes_, _ in shards)
        for _, bytes_, shard in sorted(shards):
            if used + size <= self.limit:
                break
            shard.unlink(missing_ok=True)
            used -= bytes_


def open_store(location: str | Path, cache: Path | None = None, limit: int = 0) -> Store:
    """The store of a corpus at a folder or URL; ``cache`` only matters for a URL."""
    if "://" not in str(location):
        return Folder(Path(location).expanduser())
    bucket = Bucket(str(location))
    return bucket if cache is None else Cached(bucket, cache, limit)
