"""The samples of a corpus, one after the other, as every export takes them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from medshards.curate.formats.pictures import png
from medshards.shards.build.split import SPLITS
from medshards.shards.card.about import About
from medshards.shards.read.chain import read_manifest
from medshards.shards.read.corpus import Corpus, Raw
from medshards.shards.read.decode import Stored, decode

GRID = "grid"  # field of a record: shape and affine of the volume that a slice is of
PLACE = ["volume", "slices"]  # columns of an index
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Item:
    """A sample on its way out. raw: as it lies in the shard."""

    slug: str
    key: str
    split: str
    raw: Raw
    stored: Stored

    @property
    def windowed(self) -> bool:
        """Whether its stored numbers are 16-bit, and the picture shows them in their window."""
        return self.raw.extension == "png" and png.read_header(self.raw.image).depth == 16

    @cached_property
    def picture(self) -> bytes:
        """An 8-bit JPEG or PNG file."""
        return _png(self.stored.image) if self.windowed else self.raw.image

    @property
    def numbers(self) -> NDArray[Any]:
        """The pixels of a PNG as they are stored, uint8 or uint16."""
        return png.decode(self.raw.image)

    @property
    def record(self) -> dict[str, Any]:
        """KEY.json."""
        return self.stored.record

    @property
    def file(self) -> str:
        """Path of the picture in an export, unique in the corpus."""
        return f"{self.slug}/{self.key}.{self.raw.extension}"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        height, width = self.record["size"]
        return int(height), int(width)

    def masks(self) -> Iterator[tuple[dict[str, Any], NDArray[np.bool_]]]:
        """Each instance of the record with its bool mask H×W."""
        for instance in self.record["instances"]:
            yield instance, self.stored.mask(instance)


class Export:
    """What is exported: the samples of some datasets of a corpus.

    slugs: those datasets. about: what each is. categories: number, from 1, of each concept that can occur in them, in
    order of its id. texts: its prompt. concepts: those of each dataset, sorted. gridded: datasets of slices that lie on
    a grid; volumes: those of which every volume has all its slices, at their own size.
    """

    def __init__(self, location: str | Path, datasets: Collection[str] | None, progress: Progress) -> None:
        """Open the corpus at a folder or URL. Raises CorpusError, StoreError."""
        self._splits = {split: Corpus.open(location, split, datasets) for split in SPLITS}
        self._progress = progress
        corpus = self._splits[SPLITS[0]]
        facts = corpus.facts["datasets"]
        self.digest = corpus.digest
        self.slugs = [slug for slug in sorted(facts) if datasets is None or slug in datasets]
        self.about: dict[str, About] = {slug: facts[slug]["about"] for slug in self.slugs}
        self.gridded: set[str] = set()
        self.volumes: set[str] = set()
        self.texts: dict[str, str] = {}
        self.concepts: dict[str, tuple[str, ...]] = {}
        for slug in self.slugs:
            manifest = read_manifest(corpus.store, slug, corpus.facts)
            texts = manifest["policy"]["texts"]
            if manifest["counts"]["extra"].get(GRID) == manifest["counts"]["samples"]:
                self.gridded.add(slug)
                if manifest["policy"]["max_side"] is None and _whole(corpus.indices[slug].read(PLACE)):
                    self.volumes.add(slug)
            self.texts |= texts
            self.concepts[slug] = tuple(sorted(texts))
        self.categories = {concept: number for number, concept in enumerate(sorted(self.texts), start=1)}

    def items(self) -> Iterator[Item]:
        """All samples, split after split, in the order of the index. Raises StoreError, BadSample."""
        total, done = sum(map(len, self._splits.values())), 0
        for split, corpus in self._splits.items():
            for number in range(len(corpus)):
                raw = corpus.read(number)
                stored = decode(raw)
                slug, key = raw.name.split("/", 1)
                yield Item(slug, key, split, raw, stored)
                done += 1
                self._progress("export", done, total)


def _whole(table: pa.Table) -> bool:
    """Whether every volume of an index has all its slices."""
    rows = table.to_pylist()
    count = Counter(row["volume"] for row in rows)
    return all(row["volume"] is not None and count[row["volume"]] == row["slices"] for row in rows)


def _png(pixels: NDArray[Any]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()
