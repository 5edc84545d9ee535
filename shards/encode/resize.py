"""Make a sample's image smaller: pixels averaged over the area they cover, masks by nearest pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.curate.sample import Image, Instance, Region, Sample


def fit(sample: Sample, instances: Sequence[Instance], side: int) -> tuple[Sample, list[Instance], int]:
    """The sample with an image of at most `side` px a side, aspect ratio kept, and those instances that are left.

    Returns (sample, instances, number of instances without any pixel left). The sample's own instances stay as they
    were; its spacing is that of the new pixels. A sample that is small enough comes back as it is.
    """
    height, width = native = sample.image.size
    if max(native) <= side:
        return sample, list(instances), 0
    size = max(1, round(height * side / max(native))), max(1, round(width * side / max(native)))
    pixels: Any = cv2.resize(sample.image.pixels, size[::-1], interpolation=cv2.INTER_AREA)
    spacing = sample.spacing and (sample.spacing[0] * height / size[0], sample.spacing[1] * width / size[1])
    small = replace(sample, image=Image(pixels), spacing=spacing)
    rows, columns = (_nearest(*ends) for ends in zip(native, size, strict=True))
    resized = [replace(i, region=_pick(i.region, rows, columns)) for i in instances]
    left = [i for i in resized if i.area]
    return small, left, len(resized) - len(left)


def _nearest(old: int, new: int) -> NDArray[np.intp]:
    """Of each new pixel along one side the old pixel that holds its centre (whole numbers: ties are exact)."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _pick(region: Region, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Region:
    """The region of the new pixels whose old ones, at `rows` and `columns`, lie in `region`."""
    height, width = region.crop.shape
    top, bottom = np.searchsorted(rows, (region.top, region.top + height))
    left, right = np.searchsorted(columns, (region.left, region.left + width))
    crop = region.crop[np.ix_(rows[top:bottom] - region.top, columns[left:right] - region.left)]
    return Region.of(crop, int(top), int(left))
