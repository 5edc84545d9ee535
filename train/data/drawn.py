"""The pixels of a target in the id maps of its sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medshards.curate.sample import Region
from medshards.shards.read.corpus import BadSample


class Drawn(NamedTuple):
    """Where an instance is drawn: as value ``id`` of a plane, within ``box`` (x, y, width, height) in px."""

    plane: int
    id: int
    box: Sequence[int]


def region(planes: Sequence[NDArray[Any]], target: Sequence[Drawn], name: str) -> Region:
    """The pixels of one target, which is one or more instances; only their boxes are looked at. Raises BadSample."""
    left, top = (min(drawn.box[axis] for drawn in target) for axis in (0, 1))
    right, bottom = (max(drawn.box[axis] + drawn.box[axis + 2] for drawn in target) for axis in (0, 1))
    crop = np.zeros((bottom - top, right - left), bool)
    try:
        for drawn in target:
            x, y, width, height = drawn.box
            inside = planes[drawn.plane][y : y + height, x : x + width] == drawn.id
            crop[y - top : y - top + height, x - left : x - left + width] |= inside
    except (IndexError, ValueError) as error:
        raise BadSample(
            f"{name}: its record names a mask plane that it does not have, or a box beyond it"
        ) from error
    found = Region.of(crop, top, left)
    if not found.area:
        raise BadSample(f"{name}: its record names an instance that is not in its mask")
    return found
