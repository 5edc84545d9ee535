"""How well an order shuffles: how far apart alike samples come, and what their places still tell of the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medshards.shards.read.corpus import Shards
from medshards.train.data.order import Integers, shard_of, through

BATCH = 64  # consecutive samples whose mixture of datasets is looked at


class Quality(NamedTuple):
    """Figures of one epoch's order.

    nearest, typical: samples from one member of a group to the next, the least and the median (0 without groups).
    correlation: of index and place. neighbours: of the indices of samples that follow one another; both 0 for chance.
    same_shard: part of the samples that come from the shard of the one before.
    mixture: chi² of the datasets of 64 consecutive samples by its degrees of freedom; 1 for chance, less is more even.
    """

    nearest: int
    typical: int
    correlation: float
    neighbours: float
    same_shard: float
    mixture: float


def quality(taken: Integers, groups: Sequence[NDArray[Any]], shards: Sequence[Shards]) -> Quality:
    """Measure an `order` of datasets with these ``groups`` and ``shards``."""
    sizes = [len(members) for members in groups]
    group = through(groups, [int(members.max(initial=-1)) + 1 for members in groups])[taken]
    shard = shard_of(shards)[taken]
    by_group = np.argsort(group, kind="stable")
    gaps = np.diff(by_group)[np.diff(group[by_group]) == 0]
    return Quality(
        int(gaps.min(initial=len(taken))) if len(gaps) else 0,
        int(np.median(gaps)) if len(gaps) else 0,
        _correlation(taken, np.arange(len(taken))),
        _correlation(taken[:-1], taken[1:]),
        float((np.diff(shard) == 0).mean()) if len(shard) > 1 else 0.0,
        _mixture(np.repeat(np.arange(len(sizes)), sizes)[taken]),
    )


def _correlation(one: Integers, other: Integers) -> float:
    constant = len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0
    return 0.0 if constant else float(np.corrcoef(one, other)[0, 1])


def _mixture(dataset: Integers) -> float:
    """Whether batches hold the datasets as the whole does."""
    parts = np.bincount(dataset) / max(len(dataset), 1)
    kinds = int((parts > 0).sum())
    if kinds < 2 or len(dataset) < BATCH:
        return 1.0
    batches = dataset[: len(dataset) // BATCH * BATCH].reshape(-1, BATCH)
    expected = BATCH * parts
    chi = sum(
        (((batches == number).sum(axis=1) - expected[number]) ** 2).mean() / expected[number]
        for number in np.flatnonzero(parts)
    )
    return float(chi / (kinds - 1))
