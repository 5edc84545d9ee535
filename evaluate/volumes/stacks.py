"""Masks of slices put together again, to measure whole volumes.

A volume is measured over the slices that the corpus holds; its slices come together in a corpus, so memory is that of
one volume, of which only regions are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.sample import Region
from medshards.curate.volumes import Grid

Slices = dict[int, Region]
"""One mask of a volume: the region in each slice that holds a part of it."""


class Stack(dict[str, Slices]):
    """Masks of one volume by name; those without a pixel are not there."""

    def add(self, index: int, masks: Mapping[str, NDArray[np.bool_]]) -> None:
        """Add a slice: masks bool H×W by name."""
        for name, mask in masks.items():
            if mask.any():
                self.setdefault(name, {})[index] = Region.of(mask)


def spacing_of(record: Mapping[str, Any]) -> tuple[float, float, float]:
    """Size of a voxel in mm (between slices, rows, columns), of a slice as it is stored: it may be smaller than the
    volume is."""
    grid = Grid.of(record["grid"])
    height, width = record["size"]
    between, row, column = grid.spacing_mm
    return between, row * grid.shape[1] / height, column * grid.shape[2] / width


def filled(*masks: Slices) -> list[NDArray[np.bool_]]:
    """Masks of one volume as bool D×H×W, all in the smallest box around them; at least one has a pixel."""
    boxes = [(k, r) for own in masks for k, r in own.items()]
    first = (min(k for k, _ in boxes), min(r.top for _, r in boxes), min(r.left for _, r in boxes))
    last = (
        max(k for k, _ in boxes) + 1,
        max(r.top + r.crop.shape[0] for _, r in boxes),
        max(r.left + r.crop.shape[1] for _, r in boxes),
    )
    made = []
    for own in masks:
        volume = np.zeros([b - a for a, b in zip(first, last)], bool)
        for k, region in own.items():
            rows, columns = region.window()
            top, left = rows.start - first[1], columns.start - first[2]
            height, width = region.crop.shape
            volume[k - first[0], top : top + height, left : left + width] |= region.crop
        made.append(volume)
    return made


def common(one: Region, other: Region) -> int:
    """Pixels in both regions."""
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom = min(one.top + one.crop.shape[0], other.top + other.crop.shape[0])
    right = min(one.left + one.crop.shape[1], other.left + other.crop.shape[1])
    if bottom <= top or right <= left:
        return 0
    first, second = (
        r.crop[top - r.top : bottom - r.top, left - r.left : right - r.left] for r in (one, other)
    )
    return int(np.count_nonzero(first & second))
