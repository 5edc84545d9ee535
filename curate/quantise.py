"""Volumes as 16-bit slices that keep their numbers, and the window in which they are shown by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.sample import Intensity
from medshards.curate.volumes import Volume

# Unit of a Volume → its name in records
UNITS = {"hu": "HU", "suvbw": "SUVbw g/ml", "bqml": "Bq/ml"}
# Soft tissue (width 400, level 40); the range in which FDG is commonly read. Others: percentiles of the volume.
WINDOWS = {"hu": (-160.0, 240.0), "suvbw": (0.0, 7.0)}
LEVELS = 65535
PERCENTILES = (0.5, 99.5)  # of the non-zero voxels
MAX_VOXELS = 1 << 22  # percentiles are taken over no more than about this many, at even distances


@dataclass(frozen=True, eq=False)
class Slices:
    """A volume as stored slices. stored: uint16 D×H×W. scales: (slope, intercept) of each slice."""

    stored: NDArray[np.uint16]
    scales: tuple[tuple[float, float], ...]
    unit: str
    window: tuple[float, float]

    def __len__(self) -> int:
        return len(self.stored)

    def intensity(self, index: int) -> Intensity:
        """What the numbers of a slice mean."""
        return Intensity(*self.scales[index], self.unit, self.window)

    def is_uniform(self, index: int) -> bool:
        """True for a slice of one value: nothing of the patient is in it."""
        return bool(self.stored[index].min() == self.stored[index].max())


def to_slices(volume: Volume) -> Slices:
    """Every slice of an image with its own scale.

    Whole numbers are stored as they are (slope 1). Others are stored in 65,535 steps between the least and the
    greatest of their slice, so that a value comes back within half a step: (greatest − least) / 131,070.
    """
    stored = np.empty(volume.array.shape, np.uint16)
    scales = []
    for index, values in enumerate(volume.array):
        stored[index], slope, intercept = to_uint16(values)
        scales.append((slope, intercept))
    window = WINDOWS.get(volume.unit) or percentile_window(volume.array)
    return Slices(stored, tuple(scales), UNITS.get(volume.unit, "arbitrary"), window)


def to_uint16(values: NDArray[Any]) -> tuple[NDArray[np.uint16], float, float]:
    """(stored, slope, intercept) of a slice of numbers (H×W): value ≈ stored · slope + intercept."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu" and high - low <= LEVELS:
        least = min(int(low), 0)
        if int(high) - least > LEVELS:
            least = int(low)
        return (values.astype(np.int64) - least).astype(np.uint16), 1.0, float(least)
    slope = (high - low) / LEVELS or 1.0
    stored = np.rint((values.astype(np.float64) - low) / slope)
    return stored.astype(np.uint16), slope, low


def percentile_window(array: NDArray[Any]) -> tuple[float, float]:
    """The values between which the middle 99 % of the non-zero voxels lie; (0, 1) when all are zero."""
    step = max(1, round((array.size / MAX_VOXELS) ** (1 / 3)))
    thin = array[::step, ::step, ::step]
    found = thin[thin != 0]
    if not found.size:
        found = array[array != 0]
    if not found.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(found, PERCENTILES))
    return (low, high) if high > low else (low, low + 1)
