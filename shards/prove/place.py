"""Where a corpus lies that is proven or measured: a folder, or a URL, of which shards are fetched one at a time."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from medshards.common.files import is_url
from medshards.shards.build.manifest import CORPUS, PAPERS
from medshards.shards.build.place import dataset_pattern
from medshards.shards.read.storage import Bucket, persist

Range = tuple[int, int]
"""Offset and size, in bytes."""


@dataclass(frozen=True)
class Place:
    """A corpus in a folder. root: the folder. location: how people name it."""

    root: Path
    location: str

    def names(self) -> list[str]:
        """Every file of the corpus and beside it, by its path below the root, and empty folders in the root."""
        files = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()}
        return sorted(files | {p.name for p in self.root.iterdir() if p.is_dir() and not any(p.iterdir())})

    def fetch(self, name: str) -> None:
        """Have a shard in the folder, if it exists."""

    def let_go(self, name: str, kept: Iterable[Range]) -> None:
        """A shard is needed no more, but for these bytes of it."""


@dataclass(frozen=True)
class Afar(Place):
    """A corpus at a URL. The folder holds its tables, and of each shard that was looked at what is kept of it."""

    def names(self) -> list[str]:
        return sorted(persist(Bucket(self.location).sizes))

    def fetch(self, name: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        bucket = Bucket(self.location)
        with suppress(FileNotFoundError):
            persist(lambda: bucket.fetch(name, self.root / name))

    def let_go(self, name: str, kept: Iterable[Range]) -> None:
        path = self.root / name
        part = path.with_suffix(".part")
        if not path.is_file():
            return
        with path.open("rb") as whole, part.open("wb") as sparse:
            for offset, size in kept:  # at the same places, between holes that take no room
                whole.seek(offset)
                sparse.seek(offset)
                sparse.write(whole.read(size))
            sparse.truncate(path.stat().st_size)
        part.replace(path)


@contextmanager
def at_hand(location: Path | str) -> Iterator[Place]:
    """The corpus at a folder or URL; what was fetched of a URL goes at the end.

    Raises FileNotFoundError when there is no corpus, OSError (StoreError) when the URL cannot be read.
    """
    if not is_url(location):
        root = Path(location)
        if not (root / CORPUS).is_file():
            raise FileNotFoundError(
                f"{root / CORPUS}: no such file; expected the folder that `medshards build --out` wrote"
            )
        yield Place(root, str(location))
        return
    with tempfile.TemporaryDirectory(prefix="medshards-") as folder:
        place = Afar(Path(folder), str(location).rstrip("/"))
        names = place.names()
        if CORPUS not in names:
            raise FileNotFoundError(
                f"{location}/{CORPUS}: no such file; expected the URL that `medshards build` wrote to"
            )
        for name in filter(_is_table, names):
            place.fetch(name)
        yield place


def _is_table(name: str) -> bool:
    """Whether a build wrote it and it is no shard; what else lies there is not fetched."""
    slug, _, file = name.partition("/")
    own = re.fullmatch(dataset_pattern(slug), file) is not None and not name.endswith(".tar")
    return own or name in (CORPUS, *PAPERS)
