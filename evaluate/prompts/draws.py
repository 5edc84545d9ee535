"""Random numbers that depend on the prompt alone, and on no release of numpy.

Every prompt has a seed of its own, the first 64 bits of a SHA-256 over what it is; so it does not matter in which
order, on how many workers, or beside which other prompts it is drawn. The generator is Philox, which counts instead
of remembering (Salmon et al., SC 2011). Its raw 64-bit words are turned into whole numbers here, because numpy
keeps the words the same for ever, but not its distributions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
ONE = 1 << 16  # fixed point: the standard deviation of `normal`
_PARTS = 8  # uniform numbers in one normal one
_SCALE = ONE / np.sqrt(_PARTS * (2.0**32 - 1) / 12)  # of the sum of _PARTS 16-bit numbers to an SD of ONE


def seed_of(*names: object) -> int:
    """The first 64 bits of SHA-256 over the names, each on a line."""
    text = "".join(f"{name}\n" for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Draws:
    """Numbers drawn in a fixed order from one seed."""

    def __init__(self, seed: int) -> None:
        self._words = np.random.Philox(key=seed)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Uniform 64-bit words."""
        return self._words.random_raw(count)

    def integer(self, low: int, high: int) -> int:
        """Uniform in low … high − 1 (the bias, below 2⁻³², is that of a 64-bit product)."""
        return low + ((int(self.words(1)[0]) * (high - low)) >> 64)

    def choice(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.integer(0, len(items))]

    def order(self, count: int) -> list[int]:
        """A random order of 0 … count − 1."""
        return [int(k) for k in np.argsort(self.words(count), kind="stable")]

    def normal(self, *shape: int) -> NDArray[np.int64]:
        """Nearly Gaussian whole numbers of mean 0 and SD `ONE`: each the sum of eight uniform ones."""
        count = int(np.prod(shape))
        sums = self.words(2 * count).astype("<u8").view("<u2").reshape(count, _PARTS).sum(1, dtype=np.int64)
        centred = (2 * sums - _PARTS * 0xFFFF).astype(np.float64) * (_SCALE / 2)
        whole: NDArray[np.int64] = np.rint(centred).astype(np.int64)
        return whole.reshape(shape)

    def direction(self, axes: int) -> NDArray[np.int64]:
        """A uniform direction: a vector of length `ONE`."""
        vector = self.normal(axes)
        length = float(np.sqrt(float((vector * vector).sum())))
        scaled: NDArray[np.int64] = np.rint(vector * (ONE / (length or 1.0))).astype(np.int64)
        return scaled
