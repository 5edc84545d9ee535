"""A local cache of the shards of a remote corpus.

Its files are named by the SHA-256 that the corpus's manifests give of them, so two corpora, or two builds of one,
never take each other's shards, and equal shards are kept once. All processes of a machine share the folder.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medshards.common.files import locked, sha256_file
from medshards.shards.read.storage import Bucket, Expected, StoreError

FULL = {errno.ENOSPC, errno.EDQUOT}
PARTIAL = ".partial"


class Cached:
    """A bucket whose shards are downloaded once into a local folder of bounded size.

    A shard appears in it complete and with the right digest, or not at all; what is found damaged later is
    `discard`ed and fetched again. The folder never holds more than ``limit`` bytes, shards that are being downloaded
    included: those that were used longest ago go first. Raises StoreError when the folder cannot be written.
    """

    remote = True

    def __init__(self, bucket: Bucket, folder: Path, limit: int) -> None:
        self.bucket, self.limit, self.root = bucket, limit, folder
        self._expected: dict[str, Expected] = {}
        with self._writing():
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()

    def read(self, path: str) -> bytes:
        return self.bucket.read(path)

    def expect(self, files: Mapping[str, Expected]) -> None:
        self._expected.update(files)

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        local = self._local(path)
        while True:
            with self._opened(path, local) as stream:
                if os.fstat(stream.fileno()).st_size == self._expected[path].size:
                    with suppress(OSError):
                        os.utime(local)
                    return os.pread(stream.fileno(), size, offset)
            self.discard(path)

    def prefetch(self, path: str) -> None:
        """Have a shard here before it is read."""
        self._opened(path, self._local(path)).close()

    def release(self, path: str) -> None:
        """A shard will not be read for long: it is the first to go."""
        with suppress(OSError):
            os.utime(self._local(path), (0, 0))

    def discard(self, path: str) -> None:
        with self._writing():
            self._local(path).unlink(missing_ok=True)

    def _local(self, path: str) -> Path:
        if path not in self._expected:
            raise StoreError(
                f"{self.bucket.url}/{path} is in no manifest of the corpus; run `medshards verify`"
            )
        return self.root / f"{self._expected[path].sha256}.tar"

    def _opened(self, path: str, local: Path) -> BinaryIO:
        try:
            return local.open("rb")
        except FileNotFoundError:
            return self._fetch(path, local)

    def _fetch(self, path: str, local: Path) -> BinaryIO:
        """The shard, open: others may remove it as soon as it is there, and what is open can still be read."""
        expected = self._expected[path]
        with self._writing(), self._locked(expected.sha256):  # all processes wait for the one that downloads
            with suppress(FileNotFoundError):  # another process may have fetched it while this one waited
                return local.open("rb")
            partial = self._reserve(expected)
            try:
                self.bucket.fetch(path, partial)
                size, digest = partial.stat().st_size, sha256_file(partial)
                if (size, digest) != expected:
                    raise OSError(
                        f"{self.bucket.url}/{path} arrived with {size} bytes, SHA-256 {digest[:12]}, expected "
                        f"{expected.size} and {expected.sha256[:12]}"
                    )
                stream = partial.open("rb")
                partial.replace(local)
                return stream
            finally:
                partial.unlink(missing_ok=True)

    def _reserve(self, shard: Expected) -> Path:
        """An empty file whose name says how much will be written to it, as soon as there is room for that."""
        if shard.size > self.limit:
            raise StoreError(
                f"data.cache = {self.root} is too small: data.cache_gb allows {self.limit >> 20} MiB, one shard has "
                f"{-(-shard.size >> 20)}"
            )
        partial = self.root / f"{shard.sha256}.{shard.size}{PARTIAL}"
        while True:
            with self._locked("room"):
                self._sweep()
                if self._make_room(shard.size):
                    partial.touch()
                    return partial
            time.sleep(0.1)  # until other processes are done with what they download

    def _make_room(self, size: int) -> bool:
        """Remove the shards used longest ago until ``size`` bytes more are within the limit, if they can be."""
        used = sum(int(path.name.split(".")[1]) for path in self.root.glob(f"*{PARTIAL}"))
        shards = []
        for shard in self.root.glob("*.tar"):
            with suppress(FileNotFoundError):
                found = shard.stat()
                shards.append((found.st_mtime_ns, found.st_size, shard))
        used += sum(bytes_ for _, bytes_, _ in shards)
        for _, bytes_, shard in sorted(shards):
            if used + size <= self.limit:
                break
            shard.unlink(missing_ok=True)
            used -= bytes_
        return used + size <= self.limit

    def _sweep(self) -> None:
        """Remove what killed processes left behind: partial files whose lock nobody holds."""
        for partial in self.root.glob(f"*{PARTIAL}"):
            with suppress(BlockingIOError), self._locked(partial.name.split(".")[0], wait=False):
                partial.unlink(missing_ok=True)

    def _locked(self, name: str, wait: bool = True) -> AbstractContextManager[None]:
        return locked(self.root / f"{name}.lock", wait)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Name the folder in what says that it cannot be written."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            here = error.filename is not None and str(error.filename).startswith(str(self.root))
            if error.errno not in FULL and not here:  # the bucket's
                raise
            raise StoreError(
                f"data.cache = {self.root} cannot be written: {error.strerror}; free some room, or choose a "
                "smaller data.cache_gb or another folder"
            ) from error
