"""Volume by volume scores of the organs in paired images: CT and PET, or MR and PET, of one patient with one mask.

The question is UMD's (Zhang et al., arXiv 2602.07643, 2026): the same organ of the same person in a structural and in
a functional image, so that the modality is the only thing that changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.common.overlap import overlap
from medshards.common.window import Windows
from medshards.curate.sample import Region
from medshards.curate.volumes import Grid
from medshards.evaluate.dataset import Dataset, truth_of
from medshards.evaluate.metrics import distances, emptiness
from medshards.evaluate.protocol import claims_of, contest
from medshards.evaluate.segmenter import Segmenter
from medshards.shards.read.corpus import BadSample
from medshards.shards.read.decode import decode
from medshards.train.model.answers import Rule


@dataclass(frozen=True)
class Score:
    """An organ in one image of a study.

    study: the same for all images of it. patient: group. modality: CT, MR or PT. state: "answered", "empty" (no voxel
    was predicted) or "wrong organ" (more of the prediction lies in another organ than in this one). hd95: mm, None for
    an empty prediction. truth_ml, predicted_ml: volumes.
    """

    dataset: str
    study: str
    patient: str
    modality: str
    concept: str
    state: str
    dice: float
    nsd: float
    hd95: float | None
    truth_ml: float
    predicted_ml: float

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass
class Measured:
    """scores: of all paired volumes. alone: samples without a partner, which have no part in it. unreadable: (dataset,
    key, reason)."""

    scores: list[Score] = field(default_factory=list)
    alone: int = 0
    unreadable: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class _Volume:
    record: dict[str, Any]
    study: str
    truth: dict[str, dict[int, Region]] = field(default_factory=lambda: defaultdict(dict))
    predicted: dict[str, dict[int, Region]] = field(default_factory=lambda: defaultdict(dict))


def measure(
    segmenter: Segmenter,
    dataset: Dataset,
    rule: Rule,
    tolerance: float,
    windows: Windows | None = None,
    progress: Callable[[str], None] = lambda slug: None,
) -> Measured:
    """Ask every slice of a dataset, by the protocol of `evaluate`, and measure whole volumes.

    tolerance: of NSD, mm. A volume is measured over the slices that the corpus holds, when its last one is read; its
    slices come together in a corpus.
    """
    found = Measured()
    volume: _Volume | None = None
    for number in range(len(dataset.corpus)):
        try:
            sample = decode(dataset.corpus.read(number), windows)
            record = sample.record
            if not record.get("pair") or not record.get("grid"):
                found.alone += 1
                continue
            if volume is None or record["volume"] != volume.record["volume"]:
                if volume is not None:
                    found.scores += _scores(volume, tolerance)
                volume = _Volume(record, min(record["key"], *record["pair"]))
            claims = contest(claims_of(segmenter, sample, dataset, [rule])[rule], sample, dataset)
            index = int(record["slice"][0])
            for concept, mask in truth_of(sample).items():
                volume.truth[concept][index] = Region.of(mask)
            for concept, mask in claims.items():
                if mask.any():
                    volume.predicted[concept][index] = Region.of(mask)
        except BadSample as error:
            slug, key = dataset.corpus.name(number).split("/", 1)
            found.unreadable.append((slug, key, str(error).removeprefix(f"{slug}/{key}: ")))
        finally:
            progress(dataset.slug)
    if volume is not None:
        found.scores += _scores(volume, tolerance)
    return found


def _scores(volume: _Volume, tolerance: float) -> Iterator[Score]:
    record = volume.record
    grid = Grid(tuple(record["grid"]["shape"]), np.array(record["grid"]["affine"]))
    height, width = record["size"]
    between, row, column = grid.spacing_mm
    spacing = (between, row * grid.shape[1] / height, column * grid.shape[2] / width)
    millilitres = float(np.prod(spacing)) / 1000
    for concept, own in sorted(volume.truth.items()):
        predicted = volume.predicted.get(concept, {})
        window = _window([own, predicted])
        truth, mask = _filled(own, window), _filled(predicted, window)
        found = distances(mask, truth, spacing)
        yield Score(
            str(record["dataset"]),
            volume.study,
            str(record["group"]),
            str(record["modality"]),
            concept,
            "empty" if emptiness(mask, truth) == "prediction" else _state(volume, concept),
            overlap(mask, truth).dice,
            found.surface_dice(tolerance),
            found.hausdorff(),
            float(np.count_nonzero(truth)) * millilitres,
            float(np.count_nonzero(mask)) * millilitres,
        )


def _state(volume: _Volume, concept: str) -> str:
    """Whether the prediction lies more in another organ than in its own."""
    within = {
        other: sum(_common(mask, own[k]) for k, mask in volume.predicted[concept].items() if k in own)
        for other, own in volume.truth.items()
    }
    return "answered" if within[concept] == max(within.values()) else "wrong organ"


def _common(one: Region, other: Region) -> int:
    """Pixels in both regions."""
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom = min(one.top + one.crop.shape[0], other.top + other.crop.shape[0])
    right = min(one.left + one.crop.shape[1], other.left + other.crop.shape[1])
    if bottom <= top or right <= left:
        return 0
    parts = [r.crop[top - r.top : bottom - r.top, left - r.left : right - r.left] for r in (one, other)]
    return int(np.count_nonzero(parts[0] & parts[1]))


def _window(masks: list[dict[int, Region]]) -> tuple[slice, slice, slice]:
    """The box around regions of slices."""
    boxes = [(k, r) for own in masks for k, r in own.items()]
    return (
        slice(min(k for k, _ in boxes), max(k for k, _ in boxes) + 1),
        slice(min(r.top for _, r in boxes), max(r.top + r.crop.shape[0] for _, r in boxes)),
        slice(min(r.left for _, r in boxes), max(r.left + r.crop.shape[1] for _, r in boxes)),
    )


def _filled(regions: dict[int, Region], window: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    """The regions as a volume in a window."""
    made = np.zeros([s.stop - s.start for s in window], bool)
    for k, region in regions.items():
        top, left = region.top - window[1].start, region.left - window[2].start
        height, width = region.crop.shape
        made[k - window[0].start, top : top + height, left : left + width] |= region.crop
    return made
