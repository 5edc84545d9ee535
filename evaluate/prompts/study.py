"""The mask perturbations of the published study, bit for bit: dilate, erode, hole, shift.

S. Chattopadhyay, B. Demir, M. Niethammer, "On the Robustness of Foundational 3D Medical Image Segmentation Models
Against Imprecise Visual Prompts", arXiv 2601.16383, 2026, by the code published with it. The structuring element is
a cube of side 2r + 1 in voxels of whatever grid the array is on.

The study's border rule: dilation sees background outside the array; erosion sees foreground there, so an organ cut
by the border is not eroded from that side. `outside=False` gives erosion the other rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.draws import Draws

Mask = NDArray[np.bool_]
SHIFTS = range(-3, 3)  # of one axis, voxels: the upper end of the study's draw is excluded
RADII = range(1, 5)  # of random_augmentation


def dilate(mask: Mask, radius: int) -> Mask:
    """True where the cube around the voxel meets the mask; the result is clipped to the array."""
    return _reach(mask, radius)


def erode(mask: Mask, radius: int, outside: bool = True) -> Mask:
    """True where the whole cube lies in the mask. outside: what the mask is taken to be beyond the array."""
    if outside:
        return ~_reach(~mask, radius)
    inner = tuple(slice(radius, -radius) for _ in mask.shape)
    return ~_reach(np.pad(~mask, radius, constant_values=True), radius)[inner]


def hole(mask: Mask, radius: int, outside: bool = True) -> Mask:
    """The shell of thickness `radius`: the mask without its erosion. Harshest at radius 1; once the radius exceeds
    the inradius the mask is whole."""
    return mask & ~erode(mask, radius, outside)


def shift(mask: Mask, by: Sequence[int]) -> Mask:
    """The mask moved by `by` voxels; what leaves the array is lost, what is vacated is background."""
    moved = np.zeros_like(mask)
    to = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(by, mask.shape, strict=True))
    source = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(by, mask.shape, strict=True))
    moved[to] = mask[source]
    return moved


def draw_shift(draws: Draws, axes: int = 3) -> tuple[int, ...]:
    """A shift of the study: each axis uniform in −3 … 2. The study's own draws were not seeded and are lost."""
    return tuple(draws.integer(SHIFTS.start, SHIFTS.stop) for _ in range(axes))


def random_augmentation(mask: Mask, draws: Draws) -> Mask:
    """One of dilate, erode, hole (radius uniform in 1 … 4) or shift, a quarter each."""
    kind = draws.integer(0, 4)
    if kind == 3:
        return shift(mask, draw_shift(draws, mask.ndim))
    return (dilate, erode, hole)[kind](mask, draws.integer(RADII.start, RADII.stop))


def _reach(mask: Mask, radius: int) -> Mask:
    """True within `radius` voxels of the mask along every axis, by runs along one axis after the other."""
    if radius < 1:
        raise ValueError(f"a radius is a whole number of voxels from 1, not {radius}")
    for axis in range(mask.ndim):
        sums = np.cumsum(mask, axis=axis, dtype=np.int32)
        length = mask.shape[axis]
        last = np.minimum(np.arange(length) + radius, length - 1)
        first = np.arange(length) - radius - 1  # the last place before the run
        before = np.take(sums, np.maximum(first, 0), axis=axis)
        shape = [1] * mask.ndim
        shape[axis] = length
        before *= (first >= 0).reshape(shape)
        mask = np.take(sums, last, axis=axis) > before
    return mask
