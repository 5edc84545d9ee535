"""How far a prompt is from the perfect one, as it came out: severity measured on the prompt, not on the knob."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medshards.evaluate.prompts.distance import UNITS, Mask, root, squared_at
from medshards.evaluate.prompts.target import Part, Target, dice

DECIMALS = 4


class Ruler:
    """Measures masks against one target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._border = Part(border(target.mask.crop), target.mask.start)
        self._centre = centroid(target.mask, target.spacing)

    def measure(self, part: Part) -> dict[str, Any]:
        """Dice, IoU, HD95 and mean surface distance (mm, or px where spacing is unknown), volume ratio, shift of the
        centroid, number of components. Distances are None for an empty mask.

        HD95: the greater of the two directed 95th percentiles, between the centres of border voxels.
        """
        target = self._target
        both = part.common(target.mask)
        found: dict[str, Any] = {
            "dice": round(dice(part, target.mask), DECIMALS),
            "iou": round(both / (part.voxels + target.mask.voxels - both), DECIMALS),
            "volume_ratio": round(part.voxels / target.mask.voxels, DECIMALS),
            "hd95": None,
            "mean_surface_distance": None,
            "centroid_shift": None,
            "components": 0,
            "length": target.scene.length,
        }
        if part.voxels:
            to_target, from_target = self._surface_distances(part)
            worst = max(np.percentile(to_target, 95), np.percentile(from_target, 95))
            every = (int(to_target.sum()) + int(from_target.sum())) / (len(to_target) + len(from_target))
            found["hd95"], found["mean_surface_distance"] = _rounded(worst), _rounded(every)
            away = centroid(part, target.spacing) - self._centre
            found["centroid_shift"] = round(float(np.linalg.norm(away)), 3)
            found["components"] = int(ndimage.label(part.crop, np.ones((3,) * part.crop.ndim, int))[1])
        return found

    def _surface_distances(self, part: Part) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Distance (units) of each border voxel of a mask to the nearest of the target's, and the other way."""
        low = [min(a, b) for a, b in zip(part.start, self._border.start, strict=True)]
        high = [max(a, b) for a, b in zip(part.stop, self._border.stop, strict=True)]
        size = [h - lo for h, lo in zip(high, low, strict=True)]
        own = Part(border(part.crop), part.start).window(low, size)
        target = self._border.window(low, size)
        spacing = self._target.spacing
        return (
            root(squared_at(np.argwhere(own), target, spacing)),
            root(squared_at(np.argwhere(target), own, spacing)),
        )


def _rounded(distance: float) -> float:
    """In mm (px)."""
    return round(float(distance) / UNITS, 3)


def border(mask: Mask) -> Mask:
    """The voxels of a mask that have a face without a neighbour in it."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(mask.ndim):
        lines, own = np.moveaxis(padded, axis, 0), np.moveaxis(inner, axis, 0)  # views
        own[1:-1] &= lines[:-2] & lines[2:]
    return mask & ~inner[tuple(slice(1, -1) for _ in mask.shape)]


def centroid(part: Part, spacing: tuple[int, ...]) -> NDArray[np.float64]:
    """Mean of the voxel centres (mm or px)."""
    middle = []
    for axis, start in enumerate(part.start):
        counts = np.count_nonzero(part.crop, axis=tuple(k for k in range(part.crop.ndim) if k != axis))
        middle.append(start + float(counts @ np.arange(len(counts))) / part.voxels)
    return np.array(middle) * (np.array(spacing) / UNITS)
