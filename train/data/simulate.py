"""An epoch taken by any number of ranks and workers, stopped and gone on with, without reading a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medshards.train.data.order import order, shard_of
from medshards.train.data.plan import Plan, Request, Slices
from medshards.train.data.quality import Quality, quality


class Simulation(NamedTuple):
    """What came of an epoch.

    samples: its length. missing, repeated: samples that came less or more often than their weight says. moved: samples
    that came at another place than on one rank. shards: of the training split. open: GiB of shards that are needed at
    one time, at most. quality: of the order.
    """

    samples: int
    missing: int
    repeated: int
    moved: int
    shards: int
    total: float
    open: float
    quality: Quality


def simulate(plan: Plan, batch: int, parts: Sequence[tuple[int, int, int]]) -> Simulation:
    """Take the first epoch in parts, each of (ranks, workers, steps); the last goes on to its end.

    Raises ValueError when a batch cannot be divided among the ranks.
    """
    taken: list[Request] = []
    for ranks, workers, steps in parts[:-1]:
        taken += _run(plan, len(taken), batch, ranks, workers, steps)
    ranks, workers, _ = parts[-1]
    left = max(0, plan.length - len(taken))
    taken += _run(plan, len(taken), batch, ranks, workers, -(-left // batch))
    samples = np.array([request.sample for request in taken[: plan.length]])
    expected = order(plan.seed, 0, plan.groups, plan.weights, plan.shards, plan.window)
    kinds = int(max(samples.max(), expected.max())) + 1
    more = np.bincount(samples, minlength=kinds) - np.bincount(expected, minlength=kinds)
    shards = plan.shards or ()
    sizes = np.concatenate([each.sizes for each in shards])
    return Simulation(
        plan.length,
        int(-more[more < 0].sum()),
        int(more[more > 0].sum()),
        int((samples != expected).sum()),
        len(sizes),
        sizes.sum() / 2**30,
        _open(plan, expected) / 2**30,
        quality(expected, plan.groups, shards),
    )


def _run(plan: Plan, start: int, batch: int, ranks: int, workers: int, steps: int) -> list[Request]:
    """The samples of some steps in the order in which they are trained on."""
    chunks = []
    for rank in range(ranks):
        slices = iter(Slices(plan, start, batch, batch // ranks, rank, ranks))
        asked = [next(slices) for _ in range(steps)]
        # A loader deals its requests out to its workers in turn, and takes the batches back in turn.
        dealt = [asked[worker :: workers or 1] for worker in range(workers or 1)]
        chunks.append([dealt[step % (workers or 1)][step // (workers or 1)] for step in range(steps)])
    return [request for step in zip(*chunks, strict=True) for part in step for request in part]


def _open(plan: Plan, taken: np.ndarray) -> int:
    """Bytes of the shards between their first and last sample of an epoch, at most."""
    shards = plan.shards or ()
    of = shard_of(shards)[taken]
    sizes = np.concatenate([each.sizes for each in shards])
    used, first = np.unique(of, return_index=True)
    last = len(of) - 1 - np.unique(of[::-1], return_index=True)[1]
    change = np.zeros(len(of) + 1, np.int64)
    np.add.at(change, first, sizes[used])
    np.add.at(change, last + 1, -sizes[used])
    return int(np.cumsum(change).max())
