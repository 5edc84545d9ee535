"""The files of a corpus: on a disk, in an object store, or through a local cache of shards.

What goes wrong here is trouble of the machine or of the way to the data, never a fault of a sample: it is tried
again (`persist`) and then ends the run with one line.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from medshards.common.files import is_url
from medshards.common.text import in_words

OPEN_FILES = 64  # shards a process keeps open
WAITS = (0.2, 0.4, 0.8, 1.6)  # s before each further attempt
CREDENTIALS = "for S3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or FSSPEC_S3_ANON=true"
T = TypeVar("T")


class StoreError(OSError):
    """The data cannot be had, and another attempt will not help; the message says what failed, where and why."""


class Expected(NamedTuple):
    """What the manifest says of a file: its size and its SHA-256."""

    size: int
    sha256: str


class Store(Protocol):
    """The files of a corpus; ``path`` is relative to it. Errors are OSError, those that are final StoreError."""

    remote: bool
    """Whether an answer can be damaged on the way, so that it is worth asking again."""

    def read(self, path: str) -> bytes:
        """A whole file."""

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; fewer where the file ends."""

    def expect(self, files: Mapping[str, Expected]) -> None:
        """Tell what is known of these files."""

    def discard(self, path: str) -> None:
        """What was read last was not right: read the file anew from where it comes."""


def persist(attempt: Callable[[], T], again: tuple[type[Exception], ...] = (OSError,)) -> T:
    """The result of ``attempt``, which is made five times over three seconds while it ends in one of ``again``.

    What is final (StoreError, a file that is not there) and the error of the last attempt is raised.
    """
    for wait in (*WAITS, None):
        try:
            return attempt()
        except (StoreError, FileNotFoundError):
            raise
        except again:
            if wait is None:
                raise
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


class Folder:
    """A corpus on a disk; a range is one ``pread``."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: OrderedDict[str, int] = OrderedDict()
        weakref.finalize(self, _close, self._files)

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        if path not in self._files:
            self._files[path] = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC)
            if len(self._files) > OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(path)
        return os.pread(self._files[path], size, offset)

    def expect(self, files: Mapping[str, Expected]) -> None:
        """A disk is read as it is."""

    def discard(self, path: str) -> None:
        if path in self._files:  # the file may have been put in place again, or its server lost it
            os.close(self._files.pop(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}  # another process opens its own files

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]


def _close(files: OrderedDict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])


class Bucket:
    """A corpus behind any URL that fsspec knows (s3://, gs://, https://, memory://); a range is one request."""

    remote = True

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None

    def read(self, path: str) -> bytes:
        return self._ask(path, lambda files, at: bytes(files.cat_file(at)))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        end = offset + size
        return self._ask(path, lambda files, at: bytes(files.cat_file(at, start=offset, end=end)))

    def fetch(self, path: str, target: Path) -> None:
        """Download a whole file."""
        self._ask(path, lambda files, at: files.get_file(at, str(target)))

    def put(self, path: str, source: Path) -> None:
        """Upload a file, which appears whole or not at all."""
        self._ask(path, lambda files, at: files.put_file(str(source), at))

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless one of that name is there, whoever else does so meanwhile; whether it was written."""
        try:
            self._ask(path, lambda files, at: files.pipe_file(at, data, mode="create"))
        except FileExistsError:
            return False
        return True

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._ask(path, lambda files, at: files.rm_file(at))

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, by its path."""

        def listed(files: Any, at: str) -> dict[str, int]:
            files.invalidate_cache()
            found = files.find(at.rstrip("/"), detail=True)
            return {name[len(at) :]: int(facts["size"]) for name, facts in found.items()}

        return self._ask("", listed)

    def expect(self, files: Mapping[str, Expected]) -> None:
        """A store is read as it is."""

    def discard(self, path: str) -> None:
        """Nothing is kept."""

    def _ask(self, path: str, request: Callable[[Any, str], T]) -> T:
        """The answer to a request; each back end has errors of its own, which become OSError."""
        try:
            files, root = self._connection()
            return request(files, f"{root}/{path}")
        except FileNotFoundError as error:
            if "bucket does not exist" in str(error):
                raise StoreError(f"{self.url}: {error}") from error
            raise
        except PermissionError as error:
            raise PermissionError(f"{self.url}/{path}: access is denied ({error}): {CREDENTIALS}") from error
        except ImportError as error:
            raise StoreError(f"{self.url}: {error}; for s3:// pip install 'medshards[s3]'") from error
        except (OSError, MemoryError, ValueError):
            raise
        except Exception as error:
            what = f"{self.url}/{path}: {in_words(error)}"
            if "Credentials" in type(error).__name__ or "Profile" in type(error).__name__:
                raise StoreError(f"{what}: {CREDENTIALS}") from error
            raise OSError(what) from error

    def _connection(self) -> tuple[Any, str]:
        import fsspec

        # A connection does not survive a fork: every process opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            files, root = fsspec.core.url_to_fs(self.url, skip_instance_cache=self._opened is not None)
            self._opened = (os.getpid(), files, root)
        return self._opened[1], self._opened[2]

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_opened": None}


def open_store(location: str | Path, cache: Path | None = None, limit: int = 0) -> Store:
    """The store of a corpus at a folder or URL; ``cache`` only matters for a URL."""
    if not is_url(location):
        return Folder(Path(location).expanduser())
    bucket = Bucket(str(location))
    if cache is None:
        return bucket
    from medshards.shards.read.cache import Cached

    return Cached(bucket, cache.expanduser(), limit)
