"""Random numbers that are a pure function of their key, the same on every machine and library version.

``keyed(seed, epoch, sample)`` is a 64-bit hash of its arguments: each is mixed into the state with the
finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"). What
is drawn therefore depends on nothing that happened before it: not on the number of workers, not on where a
run was resumed. The values are part of the public contract of the iteration order; tests fix them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64


def keyed(*words: int | NDArray[Any]) -> NDArray[np.uint64]:
    """Hash of non-negative integers; arrays among them broadcast. uint64, of the broadcast shape."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for word in words:
            state = (state ^ np.asarray(word, np.uint64)) + np.uint64(_GOLDEN)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def choose(items: Sequence[Item], count: int, *words: int) -> list[Item]:
    """``count`` of the items (all when there are fewer) by the key ``words``, in the order they had."""
    if len(items) <= count:
        return list(items)
    ranks = np.argsort(keyed(*words, np.arange(len(items))), kind="stable")
    return [items[place] for place in sorted(ranks[:count].tolist())]


def number(below: int, *words: int) -> int:
    """A whole number from 0 to ``below`` - 1 by the key ``words``."""
    return int(keyed(*words)) % below
