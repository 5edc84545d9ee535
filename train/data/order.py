"""The order of an epoch as a pure function of seed, epoch, weights and window.

An epoch holds every sample of every dataset exactly ``weight`` times. A weight of 2.4 means: everything twice, and 0.4
of the dataset (rounded half up) a third time. That part is a window of a permutation that the seed fixes; it moves on
from epoch to epoch and wraps, so the third turn comes to every sample before it comes to any sample again.

The members of a group (the slices of a volume, the images of a patient) are spread evenly over the epoch:
a group of m has its k-th member near position (k + phase) / m of the epoch, with at least half of 1 / m
between two. Which member is the k-th, the phase and the jitter are hashes of seed and epoch.

With a *window* the order is local, so that of a remote corpus only few shards are needed at a time. The epoch falls
into blocks, one after the other, each of as many whole shards as the window has room for; within a block samples are
spread as above. Shards come to the blocks as members come to an epoch: those of a dataset are spread evenly, so every
block holds the mixture of the whole. A dataset that comes 2.4 times has its shards visited in three turns. A window
that holds all shards gives the order without a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.shards.read.corpus import Shards
from medshards.train.data.keyed_random import keyed

ORDER_VERSION = 1  # of the rules above; checkpoints carry it
_EXTRA, _RANK, _PHASE, _JITTER, _VISIT = range(5)  # what a hash is for
_CIRCLE = 1 << 63  # an epoch, as positions of sorting keys
Integers = NDArray[np.int64]


def epoch_length(sizes: Sequence[int], weights: Sequence[float]) -> int:
    """Number of samples of an epoch."""
    return sum(whole * size + extra for size, (whole, extra) in zip(sizes, _turns(sizes, weights)))


def order(
    seed: int,
    epoch: int,
    groups: Sequence[NDArray[Any]],
    weights: Sequence[float],
    shards: Sequence[Shards] | None = None,
    window: int | None = None,
) -> Integers:
    """The samples of an epoch in their order.

    ``groups`` has one integer array a dataset, the group number of each of its samples (numbers of different
    datasets are different groups); ``weights`` one number >= 0 a dataset; ``shards`` where its samples lie, which is
    needed with a ``window`` in bytes. Returns indices that count through all datasets, one after the other. Raises
    ValueError for a weight that is none, and as `longest_block`.
    """
    sample, group, turn = _entries(seed, epoch, groups, weights)
    if shards is None or window is None:
        return sample[np.argsort(_spread((seed, epoch), group, np.arange(len(group))), kind="stable")]
    parts = []
    for entries in _blocks((seed, epoch), sample, turn, shards, window):
        places = _spread((seed, epoch), group[entries], entries)
        parts.append(sample[entries[np.argsort(places, kind="stable")]])
    return np.concatenate(parts)


def _entries(
    seed: int, epoch: int, groups: Sequence[NDArray[Any]], weights: Sequence[float]
) -> tuple[Integers, Integers, Integers]:
    """Of each entry of an epoch, dataset by dataset and turn by turn: sample, group, and turn of its dataset."""
    samples, group, turn, first = [], [], [], 0
    turns = _turns([len(g) for g in groups], weights)
    for dataset, (members, (whole, extra)) in enumerate(zip(groups, turns)):
        size = len(members)
        local = np.tile(np.arange(size), whole)
        if extra:
            again = np.argsort(keyed(seed, _EXTRA, dataset, np.arange(size)), kind="stable")
            local = np.concatenate([local, again[(epoch * extra + np.arange(extra)) % size]])
        _, number = np.unique(members, return_inverse=True)
        samples.append(local + first)
        group.append(number[local] + first)
        turn.append(np.arange(len(local)) // max(size, 1))
        first += size
    return np.concatenate(samples), np.concatenate(group), np.concatenate(turn)


def _turns(sizes: Sequence[int], weights: Sequence[float]) -> list[tuple[int, int]]:
    """For each dataset: how often everything comes, and how many samples come once more."""
    turns = []
    for size, weight in zip(sizes, weights, strict=True):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"a dataset's weight must be a number from 0 upwards, found {weight}")
        whole = math.floor(weight)
        turns.append((whole, math.floor((weight - whole) * size + 0.5)))
    return turns


def longest_block(shards: Sequence[Shards], window: int) -> int | None:
    """Bytes that a block may be long so that it fits into the window; None where that holds all shards.

    Raises ValueError when the window does not hold two of the largest shards.
    """
    sizes = np.concatenate([each.sizes for each in shards])
    if window >= sizes.sum():
        return None
    largest = int(sizes.max())
    if window < 2 * largest:
        raise ValueError(
            f"a window of {window / 2**20:.1f} MiB does not hold two of the largest shards, {largest / 2**20:.1f} MiB "
            "each: choose a larger data.window_gb, or build with a smaller --shard-size"
        )
    return window - largest


def shard_of(shards: Sequence[Shards]) -> Integers:
    """The shard of each sample; both are counted through all datasets."""
    return through([each.of for each in shards], [len(each.sizes) for each in shards])


def through(numbers: Sequence[NDArray[Any]], counts: Sequence[int]) -> Integers:
    """Numbers that begin anew with each dataset, counted through all."""
    firsts = np.cumsum([0, *counts])
    return np.concatenate([each + first for each, first in zip(numbers, firsts)])


def _blocks(
    key: tuple[int, int], sample: Integers, turn: Integers, shards: Sequence[Shards], window: int
) -> list[Integers]:
    """The entries of each block, in ascending order.

    A visit is a shard in one turn. Visits are laid end to end in a seeded order and cut into equal lengths; one
    belongs to where its middle lies, so that a block is at most a length and the largest shard.
    """
    most = longest_block(shards, window)
    if most is None:
        return [np.arange(len(sample))]
    sizes = np.concatenate([each.sizes for each in shards])
    shard = shard_of(shards)[sample]
    dataset = np.repeat(np.arange(len(shards)), [len(each.sizes) for each in shards])
    visits, visit = np.unique(turn * len(sizes) + shard, return_inverse=True)
    visited = visits % len(sizes)
    at = np.argsort(_spread((*key, _VISIT), dataset[visited], visits), kind="stable")
    ends = np.cumsum(sizes[visited[at]])
    blocks = -(-int(ends[-1]) // most)
    block = np.empty(len(visits), np.int64)
    block[at] = (2 * ends - sizes[visited[at]]) // -(-2 * int(ends[-1]) // blocks)
    of_entry = block[visit]
    entries = np.argsort(of_entry, kind="stable")
    parts = np.split(entries, np.cumsum(np.bincount(of_entry, minlength=blocks))[:-1])
    return [part for part in parts if len(part)]


def _spread(key: tuple[int, ...], group: Integers, entry: Integers) -> NDArray[np.uint64]:
    """A sorting key for each entry that spreads every group evenly over a circle; ``entry`` has a number of each."""
    by_group = np.argsort(keyed(*key, _RANK, entry), kind="stable")
    for bits in range(
        0, int(group.max(initial=0)).bit_length(), 16
    ):  # numpy sorts 16 bits by radix, all 64 slowly
        by_group = by_group[np.argsort((group[by_group] >> bits).astype(np.uint16), kind="stable")]
    firsts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
    counts = np.diff(firsts, append=len(group))
    rank, count = np.empty(len(group), np.uint64), np.empty(len(group), np.uint64)
    rank[by_group] = np.arange(len(group)) - np.repeat(firsts, counts)
    count[by_group] = np.repeat(counts, counts)
    step = np.uint64(_CIRCLE) // count
    phase = keyed(*key, _PHASE, group) % step
    jitter = keyed(*key, _JITTER, entry) % (step // np.uint64(2) + np.uint64(1))
    place: NDArray[np.uint64] = (rank * step + phase + jitter) & np.uint64(_CIRCLE - 1)
    return place
