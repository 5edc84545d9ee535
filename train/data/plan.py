"""Which sample when: epochs in their order (`medshards.train.data.order`), one after another, cut into batches.

Epochs follow one another without a gap, and a global batch is the next ``batch`` samples of that endless sequence, so
there is no incomplete batch: what an epoch leaves over is completed by the start of the next. Rank and world size
decide only who takes which part of a batch. The whole state is therefore the number of samples taken so far.

An order of a million samples takes about a second and 120 MB to compute, and 8 MB to keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medshards.shards.read.corpus import Shards
from medshards.train.data.order import epoch_length, longest_block, order


class Request(NamedTuple):
    """One sample of an epoch: ``sample`` counts through all datasets, one after the other."""

    epoch: int
    sample: int


@dataclass
class Plan:
    """The endless sequence of samples, one epoch after another; see `order` for the fields, and for what it raises."""

    seed: int
    groups: Sequence[NDArray[Any]]
    weights: Sequence[float]
    shards: Sequence[Shards] | None = None
    window: int | None = None
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.length = epoch_length([len(g) for g in self.groups], self.weights)
        if self.length == 0:
            raise ValueError("an epoch without samples: there is no training sample, or all weights are 0")
        if self.shards is not None and self.window is not None:
            longest_block(self.shards, self.window)

    def requests(self, start: int, count: int) -> list[Request]:
        """Samples ``start`` to ``start + count - 1`` of the sequence."""
        return [self._at(position) for position in range(start, start + count)]

    def _at(self, position: int) -> Request:
        epoch, place = divmod(position, self.length)
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = order(self.seed, epoch, self.groups, self.weights, self.shards, self.window)
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
