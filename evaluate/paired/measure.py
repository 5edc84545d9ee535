"""Volume by volume scores of the organs in paired images: CT and PET, or MR and PET, of one patient with one mask.

The question is UMD's (Zhang et al., arXiv 2602.07643, 2026): the same organ of the same person in a structural and in
a functional image, so that the modality is the only thing that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from medshards.common.overlap import overlap
from medshards.common.window import Windows
from medshards.evaluate.dataset import Dataset, truth_of
from medshards.evaluate.metrics import distances, emptiness
from medshards.evaluate.protocol import claims_of, contest
from medshards.evaluate.segmenter import Segmenter
from medshards.evaluate.volumes.stacks import Stack, common, filled, spacing_of
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
    truth: Stack = field(default_factory=Stack)
    predicted: Stack = field(default_factory=Stack)


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
            volume.truth.add(index, truth_of(sample))
            volume.predicted.add(index, claims)
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
    spacing = spacing_of(record)
    millilitres = float(np.prod(spacing)) / 1000
    for concept, own in sorted(volume.truth.items()):
        predicted = volume.predicted.get(concept, {})
        truth, mask = filled(own, predicted)
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
        other: sum(common(mask, own[k]) for k, mask in volume.predicted.get(concept, {}).items() if k in own)
        for other, own in volume.truth.items()
    }
    return "answered" if within[concept] == max(within.values()) else "wrong organ"
