"""One split of a corpus as a sequence of decoded samples: what `medshards.open` gives."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from medshards.common.window import Windows
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.decode import Stored, decode


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its masks, read from a shard.

    name: `slug/key`. image: uint8 H×W×3 (RGB). record: KEY.json, see docs/format.md.
    """

    name: str
    image: NDArray[np.uint8]
    record: dict[str, Any]
    stored: Stored

    @property
    def prompts(self) -> tuple[str, ...]:
        """The canonical texts of what is annotated in the image, in order of concept id."""
        return tuple(self.masks)

    @cached_property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """The instances of each prompt, bool N×H×W with N ≥ 1."""
        found: dict[str, list[NDArray[np.bool_]]] = {}
        for instance in sorted(self.record["instances"], key=lambda instance: str(instance["concept"])):
            found.setdefault(instance["text"], []).append(self.stored.mask(instance))
        return {text: np.stack(masks) for text, masks in found.items()}


class Samples(Sequence[Sample]):
    """The samples of a split, in the order of the index; any is one ranged read.

    A sequence with a length, so that torch's DataLoader takes it as a map-style dataset.
    """

    def __init__(self, corpus: Corpus, windows: Windows | None = None) -> None:
        self.corpus, self.windows = corpus, windows

    def __len__(self) -> int:
        return len(self.corpus)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        raw = self.corpus.read(position)
        stored = decode(raw, self.windows)
        image = np.asarray(stored.image)
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        return Sample(raw.name, image, raw.record, stored)

    def __iter__(self) -> Iterator[Sample]:
        return (self[position] for position in range(len(self)))


def open_samples(
    location: str | Path,
    split: str = "train",
    datasets: Collection[str] | None = None,
    *,
    windows: Windows | None = None,
    cache: str | Path | None = None,
    cache_gb: float = 10.0,
) -> Samples:
    """Open one split of the corpus at a folder or URL (s3://, gs://, https://).

    split: "train", "val" or "test". datasets: only these slugs. windows: how the numbers of CT, MR and PET are
    shown, by unit; else as their records say. cache: a folder that keeps up to `cache_gb` of a remote corpus.

    Raises CorpusError when there is no such corpus or it is damaged; reading a sample that is damaged raises BadSample.
    """
    folder = None if cache is None else Path(cache)
    return Samples(
        Corpus.open(location, split, datasets, cache=folder, cache_bytes=int(cache_gb * 1e9)), windows
    )
