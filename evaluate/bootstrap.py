"""95 % intervals by resampling groups: patients, videos, volumes, never single images of one patient.

Groups are drawn with replacement, as many as there are, 1,000 times, and the interval is that of the middle 95 % of
what comes out (percentile bootstrap; Efron & Tibshirani 1993). The drawing depends on the names of the groups alone,
so two models that are measured on the same samples are drawn alike, and the interval of their difference is a paired
one. A mean over datasets draws the groups of each dataset for itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
Interval = tuple[float, float]
Values = Mapping[str, Sequence[float]]
"""The values of each group."""


def drawn(names: Sequence[str], draws: int = DRAWS) -> NDArray[np.int64]:
    """(draws, number of names): places in `names`, which are sorted and differ."""
    seed = zlib.crc32("\n".join(names).encode())
    places: NDArray[np.int64] = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    return places


def means(values: Values) -> NDArray[np.float64]:
    """The mean over all values in each of `DRAWS` drawings of the groups; (DRAWS,)."""
    names = sorted(values)
    sums = np.array([float(np.sum(values[name])) for name in names])
    counts = np.array([len(values[name]) for name in names], float)
    places = drawn(names)
    found: NDArray[np.float64] = sums[places].sum(axis=1) / counts[places].sum(axis=1)
    return found


def interval(values: Values) -> Interval | None:
    """Of the mean of one dataset; None for fewer than two groups, of which nothing can be said."""
    return middle(means(values)) if len(values) > 1 else None


def interval_of_datasets(datasets: Sequence[Values]) -> Interval | None:
    """Of the mean over the means of datasets; a dataset of one group counts as certain."""
    if not datasets or max(map(len, datasets)) < 2:
        return None
    return middle(np.mean([means(values) for values in datasets], axis=0))


def interval_of_difference(first: Values, second: Values) -> Interval | None:
    """Of the mean of the second less that of the first, paired: both must have the same groups with as many values.

    None where they do not, and for fewer than two groups.
    """
    sizes = [{name: len(own) for name, own in values.items()} for values in (first, second)]
    if sizes[0] != sizes[1] or len(first) < 2:
        return None
    return middle(means(second) - means(first))


def interval_of(
    groups: Sequence[str], statistic: Callable[[Sequence[str]], float | None], draws: int = DRAWS
) -> Interval | None:
    """Of any statistic of a list of groups, drawn with repetition.

    None for fewer than two groups, or when the statistic is None or not finite for most draws.
    """
    names = sorted(set(groups))
    if len(names) < 2 or not draws:
        return None
    every = (statistic([names[place] for place in row]) for row in drawn(names, draws))
    found = [value for value in every if value is not None and np.isfinite(value)]
    return middle(np.array(found)) if 2 * len(found) >= draws else None


def middle(values: NDArray[np.float64]) -> Interval:
    """The middle 95 %."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
