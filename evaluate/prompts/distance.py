"""Distances in whole units of 0.1 µm, so that every platform and every floating-point type gives the same ones.

A field that decides about voxels must not hang on the last bit of a float. Spacings are rounded to units once; from
there on everything is whole numbers, squared distances exactly so.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medshards.evaluate.prompts.draws import Draws

UNITS = 10_000  # in a millimetre (or in a pixel, where the spacing is not known)
FAR = np.int64(1) << 60  # squared distance to nothing
LOT = 32  # part of a voxel that a lot decides about, see `refined`
LIMIT = 1 << 28  # the greatest distance: some 27 m; four of them can be added in 32 bits

Mask = NDArray[np.bool_]


def units(lengths: Sequence[float]) -> tuple[int, ...]:
    """Lengths in mm or px as whole units; float32 and float64 of the same header give the same."""
    return tuple(round(float(length) * UNITS) for length in lengths)


def squared_distance(mask: Mask, spacing: Sequence[int], reach: int = LIMIT) -> NDArray[np.int64]:
    """Squared distance (units²) of every voxel centre to the nearest one in the mask; `FAR` where there is none.

    Exact up to `reach`, beyond it at least that.
    """
    if not mask.any():
        return np.full(mask.shape, FAR)
    if spacing[-1] != spacing[-2]:
        return _by_features(mask, spacing)
    planes = mask.reshape(-1, *mask.shape[-2:])
    squared = np.stack([_plane(plane) for plane in planes])
    squared = np.where(squared < FAR, squared * spacing[-1] ** 2, FAR).reshape(mask.shape)
    return squared if mask.ndim == 2 else _along_first(squared, spacing[0], reach)


def _plane(plane: Mask) -> NDArray[np.int64]:
    """Squared distances in px² within a slice of square pixels."""
    if not plane.any():
        return np.full(plane.shape, FAR)
    exact = cv2.distanceTransform((~plane).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # a float32 root of a whole number below 2^22 gives the number back when squared and rounded
    return np.rint(exact.astype(np.float64) ** 2).astype(np.int64)


def _along_first(squared: NDArray[np.int64], step: int, reach: int) -> NDArray[np.int64]:
    """The same with the neighbouring slices taken in, `step` units apart."""
    nearest = squared.copy()
    for k in range(1, len(squared)):
        added = (k * step) ** 2
        if added >= min(int(nearest.max()), reach**2):  # no farther slice can be nearer
            break
        np.minimum(nearest[k:], squared[:-k] + added, out=nearest[k:])
        np.minimum(nearest[:-k], squared[k:] + added, out=nearest[:-k])
    return nearest


def squared_at(points: NDArray[np.int64], mask: Mask, spacing: Sequence[int]) -> NDArray[np.int64]:
    """The same at some voxels only (N×axes): much less work than everywhere."""
    if mask.ndim == 2 or spacing[-1] != spacing[-2] or not mask.any():
        at_points: NDArray[np.int64] = squared_distance(mask, spacing)[tuple(points.T)]
        return at_points
    flat = np.stack([_plane(plane) for plane in mask])
    flat = np.where(flat < FAR, flat * spacing[-1] ** 2, FAR)
    slices, rows, columns = points.T
    nearest: NDArray[np.int64] = flat[slices, rows, columns]
    for k in range(1, len(mask)):
        added = (k * spacing[0]) ** 2
        open_ = np.flatnonzero(nearest > added)
        if not open_.size:
            break
        for other in (slices[open_] - k, slices[open_] + k):
            there = (other >= 0) & (other < len(mask))
            at = open_[there]
            found = flat[other[there], rows[at], columns[at]] + added
            nearest[at] = np.minimum(nearest[at], found)
    return nearest


def _by_features(mask: Mask, spacing: Sequence[int]) -> NDArray[np.int64]:
    """The same for pixels that are not square, by the nearest voxel that scipy finds."""
    nearest = ndimage.distance_transform_edt(
        ~mask, sampling=spacing, return_distances=False, return_indices=True
    )
    squared = np.zeros(mask.shape, np.int64)
    for axis, (index, step) in enumerate(zip(nearest, spacing, strict=True)):
        shape = [1] * mask.ndim
        shape[axis] = -1
        squared += ((index - np.arange(mask.shape[axis]).reshape(shape)).astype(np.int64) * step) ** 2
    return squared


def root(squared: NDArray[np.int64]) -> NDArray[np.int32]:
    """Square roots, rounded to whole units, at most `LIMIT`."""
    roots = np.sqrt(np.minimum(squared, np.int64(LIMIT) ** 2).astype(np.float64))
    return np.rint(roots, out=roots).astype(np.int32)


def signed_distance(mask: Mask, spacing: Sequence[int]) -> NDArray[np.int32]:
    """Distance (units) to the nearest voxel of the other kind: positive outside the mask, negative inside."""
    return root(squared_distance(mask, spacing)) - root(squared_distance(~mask, spacing))


def refined(signed: NDArray[np.int32], spacing: Sequence[int]) -> NDArray[np.int32]:
    """Signed distance to a smooth outline between the voxels.

    Distances between voxel centres come in steps: a whole shell of neighbours has the same one. Taken to the half of
    the way, then averaged with weights 1 2 1 along each axis, twice, they put voxels in dents before those on bumps.
    Along a vessel of one voxel all are equal even so; a lot of at most 1/32 of a voxel, the same in every window of
    this shape, puts an end to that. Nothing moves a value by half the smallest spacing or more, so every voxel stays
    on its side.
    """
    half, lot = min(spacing) // 2, min(spacing) // LOT
    level = (signed - np.sign(signed) * half).astype(np.int32)
    smooth: NDArray[np.int32] = level
    for axis in [*range(signed.ndim)] * 2:
        lines = np.moveaxis(smooth, axis, 0)  # a view
        total: NDArray[np.int32] = lines * np.int32(2)
        total[:-1] += lines[1:]
        total[1:] += lines[:-1]
        total[0] += lines[0]  # beyond the window as at its edge
        total[-1] += lines[-1]
        smooth = np.moveaxis(total >> 2, 0, axis)
    field: NDArray[np.int32] = level + np.clip(smooth - level, lot + 1 - half, half - 1 - lot)
    words = Draws(0).words(-(-field.size // 4)).astype("<u8").view("<u2")[: field.size].reshape(field.shape)
    field += (words.astype(np.int32) * (2 * lot) >> 16) - lot
    return field


def squared_from(
    centre: Sequence[int], start: Sequence[int], shape: Sequence[int], spacing: Sequence[int]
) -> NDArray[np.int64]:
    """Squared distance (units²) of the voxels of a window to a point (units from the frame's first voxel)."""
    squared = np.zeros(tuple(shape), np.int64)
    for axis, (c, s, n, step) in enumerate(zip(centre, start, shape, spacing, strict=True)):
        along = ((np.arange(n, dtype=np.int64) + int(s)) * step - int(c)) ** 2
        squared += along.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return squared
