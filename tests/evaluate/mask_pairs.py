"""Pairs of masks to measure distances between: blobs, noise, single pixels, flat and empty ones, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COUNT = 200


class Pair(NamedTuple):
    """Two bool masks of one shape, the size of a pixel along each axis, and a tolerance in that unit."""

    prediction: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    spacing: tuple[float, ...]
    tolerance: float


def pairs() -> Iterator[Pair]:
    """Always the same pairs: drawn by a congruential generator, which no library can change."""
    draw = _draws()
    for number in range(COUNT):
        axes = 2 + number % 2
        shape = tuple(4 + int(next(draw) * (40 if axes == 2 else 14)) for _ in range(axes))
        spacing = tuple(1.0 if number % 3 == 0 else round(0.4 + 3 * next(draw), 2) for _ in range(axes))
        first, second = (_mask(shape, next(draw), draw) for _ in range(2))
        if number % 20 == 19:
            second = first.copy()
        yield Pair(first, second, spacing, round(0.3 + 3 * next(draw), 3))


def _mask(shape: tuple[int, ...], kind: float, draw: Iterator[float]) -> NDArray[np.bool_]:
    if kind < 0.06:
        return np.zeros(shape, bool)
    if kind < 0.1:
        return np.ones(shape, bool)
    if kind < 0.2:  # one pixel
        mask = np.zeros(shape, bool)
        mask[tuple(int(next(draw) * side) for side in shape)] = True
        return mask
    if kind < 0.35:  # noise
        share = next(draw)
        return np.array([next(draw) < share for _ in range(int(np.prod(shape)))]).reshape(shape)
    grid = np.indices(shape)
    mask = np.zeros(shape, bool)
    for _ in range(1 + int(next(draw) * 3)):  # ellipsoids, some of them cut off by the margin
        centre = [next(draw) * side for side in shape]
        radius = [0.7 + next(draw) * side / 3 for side in shape]
        mask |= sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius, strict=True)) <= 1
    return mask


def _draws() -> Iterator[float]:
    state = 2026
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield (state >> 11) / 2**53
