"""Which sample when: the order of training as a pure function of seed, epoch and weights.

An epoch holds every sample of every dataset exactly ``weight`` times. Epochs follow one another without a
gap, and a global batch is the next ``batch`` samples of that endless sequence, so there is no incomplete
batch: what an epoch leaves over is completed by the start of the next. Rank and world size decide only who
takes which part of a batch. The whole state is therefore the number of samples taken so far.

A weight of 2.4 means: everything twice, and 0.4 of the dataset (rounded half up) a third time. That part is a
window of a permutation that the seed fixes; it moves on from epoch to epoch and wraps, so the third turn
comes to every sample before it comes to any sample again.

The members of a group (the slices of a volume, the images of a patient) are spread evenly over the epoch:
a group of m has its k-th member near position (k + phase) / m of the epoch, with at least half of 1 / m
between two. Which member is the k-th, the phase and the jitter are hashes of seed and epoch.

An order of a million samples takes about a second and 80 MB to compute, and 8 MB to keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medshards.train.data.keyed_random import keyed

ORDER_VERSION = 1  # of the rules above; checkpoints carry it
_EXTRA, _RANK, _PHASE, _JITTER = range(4)  # what a hash is for
_CIRCLE = 1 << 63  # an epoch, as positions of sorting keys


class Request(NamedTuple):
    """One sample of an epoch: ``sample`` counts through all datasets, one after the other."""

    epoch: int
    sample: int


def epoch_length(sizes: Sequence[int], weights: Sequence[float]) -> int:
    """Number of samples of an epoch."""
    return sum(whole * size + extra for size, (whole, extra) in zip(sizes, _turns(sizes, weights)))


def order(
    seed: int, epoch: int, groups: Sequence[NDArray[Any]], weights: Sequence[float]
) -> NDArray[np.int64]:
    """The samples of an epoch in their order.

    ``groups`` has one integer array a dataset, the group number of each of its samples (numbers of different
    datasets are different groups); ``weights`` one number >= 0 a dataset. Returns indices that count through
    all datasets, one after the other.
    """
    samples, group, first_sample, first_group = [], [], 0, 0
    turns = _turns([len(g) for g in groups], weights)
    for dataset, (members, (whole, extra)) in enumerate(zip(groups, turns)):
        size = len(members)
        again = np.argsort(keyed(seed, _EXTRA, dataset, np.arange(size)), kind="stable")
        window = again[(epoch * extra + np.arange(extra)) % max(size, 1)]
        local = np.concatenate([np.tile(np.arange(size), whole), window])
        samples.append(local + first_sample)
        _, number = np.unique(members, return_inverse=True)
        group.append(number[local] + first_group)
        first_sample += size
        first_group += size
    sample, of_group = np.concatenate(samples), np.concatenate(group)
    return sample[np.argsort(_spread(seed, epoch, of_group), kind="stable")].astype(np.int64)


def _turns(sizes: Sequence[int], weights: Sequence[float]) -> list[tuple[int, int]]:
    """For each dataset: how often everything comes, and how many samples come once more."""
    turns = []
    for size, weight in zip(sizes, weights, strict=True):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"a dataset's weight must be a number from 0 upwards, found {weight}")
        whole = math.floor(weight)
        turns.append((whole, math.floor((weight - whole) * size + 0.5)))
    return turns


def _spread(seed: int, epoch: int, group: NDArray[Any]) -> NDArray[np.uint64]:
    """A sorting key for each entry that spreads every group evenly over the circle of an epoch."""
    entry = np.arange(len(group))
    by_group = np.lexsort((keyed(seed, epoch, _RANK, entry), group))
    counts = np.bincount(group, minlength=1)
    rank = np.empty(len(group), np.uint64)
    rank[by_group] = entry - (np.cumsum(counts) - counts)[group[by_group]]
    step = np.uint64(_CIRCLE) // np.maximum(counts, 1).astype(np.uint64)[group]
    phase = keyed(seed, epoch, _PHASE, group) % step
    jitter = keyed(seed, epoch, _JITTER, entry) % (step // np.uint64(2) + np.uint64(1))
    place: NDArray[np.uint64] = (rank * step + phase + jitter) & np.uint64(_CIRCLE - 1)
    return place


@dataclass
class Plan:
    """The endless sequence of samples, one epoch after another; see `order` for the fields."""

    seed: int
    groups: Sequence[NDArray[Any]]
    weights: Sequence[float]
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.length = epoch_length([len(g) for g in self.groups], self.weights)
        if self.length == 0:
            raise ValueError("an epoch without samples: there is no training sample, or all weights are 0")

    def requests(self, start: int, count: int) -> list[Request]:
        """Samples ``start`` to ``start + count - 1`` of the sequence."""
        return [self._at(position) for position in range(start, start + count)]

    def _at(self, position: int) -> Request:
        epoch, place = divmod(position, self.length)
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = order(self.seed, epoch, self.groups, self.weights)
        return Request(epoch, int(self._orders[epoch][place]))


@dataclass(frozen=True)
class Slices:
    """The part of one rank: the samples of each of its forward passes, without end.

    A global batch of ``batch`` samples falls into chunks (gradient accumulation), a chunk into one run of
    ``per_rank`` samples for each rank. ``start`` is the number of samples taken before.
    """

    plan: Plan
    start: int
    batch: int
    per_rank: int
    rank: int
    world: int

    def __post_init__(self) -> None:
        if self.batch % (self.world * self.per_rank):
            raise ValueError(
                f"a global batch of {self.batch} images cannot be divided among {self.world} ranks with "
                f"{self.per_rank} images each: choose batch.images as a multiple of "
                f"{self.world * self.per_rank}, or another number of ranks"
            )

    @property
    def chunks(self) -> int:
        """Forward passes of a step."""
        return self.batch // (self.world * self.per_rank)

    def __iter__(self) -> Iterator[list[Request]]:
        position = self.start + self.rank * self.per_rank
        while True:
            yield self.plan.requests(position, self.per_rank)
            position += self.world * self.per_rank
