"""The samples of a corpus, one after the other, as every export takes them."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medshards.curate.formats.pictures import png
from medshards.shards.build.split import SPLITS
from medshards.shards.card.about import About
from medshards.shards.read.chain import read_manifest
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.decode import Stored, decode

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Item:
    """A sample on its way out. picture: an 8-bit JPEG or PNG file. windowed: its stored numbers were 16-bit."""

    slug: str
    key: str
    split: str
    picture: bytes
    extension: str
    windowed: bool
    stored: Stored

    @property
    def record(self) -> dict[str, Any]:
        """KEY.json."""
        return self.stored.record

    @property
    def file(self) -> str:
        """Path of the picture in an export, unique in the corpus."""
        return f"{self.slug}/{self.key}.{self.extension}"

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
    order of its id. texts: its prompt. concepts: those of each dataset, sorted.
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
        self.texts: dict[str, str] = {}
        self.concepts: dict[str, tuple[str, ...]] = {}
        for slug in self.slugs:
            texts = read_manifest(corpus.store, slug, corpus.facts)["policy"]["texts"]
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
                windowed = raw.extension == "png" and png.read_header(raw.image).depth == 16
                picture = _png(stored.image) if windowed else raw.image
                yield Item(slug, key, split, picture, raw.extension, windowed, stored)
                done += 1
                self._progress("export", done, total)


def _png(pixels: NDArray[Any]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()
