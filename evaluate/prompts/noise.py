"""A smooth Gaussian field in whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.draws import Draws

WEIGHT = 1 << 10  # fixed point of the weights: three axes of them and a draw stay below 2^53
VARIANCE = 0.479  # mean over positions of the sum of squares of the four weights of a cubic B-spline


def smooth_noise(
    draws: Draws, shape: Sequence[int], spacing: Sequence[int], length: int
) -> NDArray[np.int32]:
    """Noise of mean 0 and SD `draws.ONE` on a window, smooth over `length` units.

    Independent normal numbers on a lattice of step `length`, between which a cubic B-spline runs. Every product and
    sum is a whole number that float64 holds exactly, so neither the order of adding nor the platform matters.
    """
    weights = [_weights(size, step, length) for size, step in zip(shape, spacing, strict=True)]
    field = draws.normal(*(w.shape[1] for w in weights)).astype(np.float64)
    for weight in weights[:-1]:  # each turns the first axis into the last but one
        field = np.moveaxis(np.tensordot(weight, field, axes=(1, 0)), 0, -1)
    field = np.tensordot(field, weights[-1], axes=(0, 1))
    field /= float(WEIGHT) ** len(weights) * VARIANCE ** (len(weights) / 2)
    return np.rint(field, out=field).astype(np.int32)


def _weights(size: int, step: int, length: int) -> NDArray[np.float64]:
    """Weight (whole number of 1/1024) of each lattice node (column) at each voxel (row) of one axis."""
    at = np.arange(size, dtype=np.int64) * step
    node, rest = np.divmod(at, length)
    t = rest / length
    four = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    weights = np.zeros((size, int(node[-1]) + 4))
    for k, row in enumerate(np.rint(four * WEIGHT)):
        weights[np.arange(size), node + k] = row
    return weights
