"""95 % intervals of means by resampling groups: patients, videos, volumes, never single images of one patient.

Groups are drawn with replacement, as many as there are, 2,000 times, and the interval is that of the middle 95 % of
the means (percentile bootstrap; Efron & Tibshirani 1993). The drawing depends on the names of the groups alone, so two
models that are measured on the same samples are drawn alike, and the interval of their difference is a paired one. A
mean over datasets draws the groups of each dataset for itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
Interval = tuple[float, float]
Values = Mapping[str, Sequence[float]]
"""The values of each group."""


def means(values: Values) -> NDArray[np.float64]:
    """The mean over all values in each of `DRAWS` drawings of the groups; (DRAWS,)."""
    names = sorted(values)
    sums = np.array([float(np.sum(values[name])) for name in names])
    counts = np.array([len(values[name]) for name in names], float)
    seed = zlib.crc32("\n".join(names).encode())
    drawn = np.random.default_rng(seed).integers(0, len(names), (DRAWS, len(names)))
    drawn_means: NDArray[np.float64] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return drawn_means


def interval(values: Values) -> Interval | None:
    """Of the mean of one dataset; None for fewer than two groups, of which nothing can be said."""
    return _middle(means(values)) if len(values) > 1 else None


def interval_of_datasets(datasets: Sequence[Values]) -> Interval | None:
    """Of the mean over the means of datasets; a dataset of one group counts as certain."""
    if not datasets or max(map(len, datasets)) < 2:
        return None
    return _middle(np.mean([means(values) for values in datasets], axis=0))


def _middle(drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)
