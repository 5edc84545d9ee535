"""Averages that are honest about what they average: patient, then class, then the mean over classes (macro)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Group:
    """Values of one class summed up. n: values. sd: population standard deviation. zeros: values of exactly 0."""

    n: int
    mean: float
    sd: float
    median: float
    zeros: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Group:
        """The summary of at least one value."""
        array = np.asarray(values, float)
        return cls(
            len(array),
            float(array.mean()),
            float(array.std()),
            float(np.median(array)),
            int(np.count_nonzero(array == 0)),
        )


def macro(classes: Iterable[Group]) -> Group:
    """Over the means of classes, every class alike; n: classes."""
    return Group.of([group.mean for group in classes])


def pooled(classes: Iterable[Group]) -> Group:
    """Over all values of all classes, from their summaries; the median is not to be had from them (NaN)."""
    groups = list(classes)
    n = sum(g.n for g in groups)
    mean = math.fsum(g.n * g.mean for g in groups) / n
    square = math.fsum(g.n * (g.sd**2 + g.mean**2) for g in groups) / n
    return Group(
        n, mean, float(np.sqrt(max(square - mean**2, 0.0))), float("nan"), sum(g.zeros for g in groups)
    )


def by_patient(values: Iterable[tuple[str, str, float]]) -> dict[str, dict[str, float]]:
    """Mean of each patient in each class, from (class, patient, value): class → patient → mean."""
    gathered: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for concept, patient, value in values:
        gathered[concept][patient].append(value)
    return {c: {p: float(np.mean(v)) for p, v in own.items()} for c, own in sorted(gathered.items())}


def macro_mean(classes: Mapping[str, Mapping[str, float]]) -> float:
    """Patient → class → macro."""
    return float(np.mean([np.mean(list(own.values())) for own in classes.values()]))
