"""LabelMe files: the shapes drawn on one image.

Format: https://github.com/wkentaro/labelme. Coordinates are px of the full image, x along the columns. Only shapes
that say which pixels they cover are of use here: polygons. Rectangles are boxes drawn beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.jsonfile import read_object
from medshards.curate.formats.pictures import polygons
from medshards.curate.sample import Region, Reject
from medshards.curate.tree import File


@dataclass(frozen=True, eq=False)
class Shape:
    """One drawn shape. kind: polygon, rectangle, circle, line, point …; points: N×2 float64 (x, y) in px.

    Files of early versions name no kind: they know polygons only.
    """

    label: str
    kind: str
    points: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a LabelMe file holds. size: (height, width) of its image in px; shapes: in the order of the file."""

    size: tuple[int, int]
    shapes: tuple[Shape, ...]


def read_labelme(file: File) -> Drawing:
    """The shapes of a LabelMe file. A picture inside it (`imageData`) and free text are not read.

    Raises Reject (`unreadable`, `lfs_pointer`).
    """
    content = read_object(file)
    try:
        size = int(content["imageHeight"]), int(content["imageWidth"])
        return Drawing(size, tuple(_shape(s) for s in content["shapes"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        message = f"is no LabelMe file: {type(error).__name__} {error}"
        raise Reject("unreadable", message, file.name) from error


def _shape(entry: Mapping[str, Any]) -> Shape:
    points = np.asarray(entry["points"], np.float64).reshape(-1, 2)
    return Shape(str(entry["label"]), str(entry.get("shape_type", "polygon")), points)


def region(shape: Shape, size: tuple[int, int], file: File) -> Region:
    """The pixels of a polygon in an image of `size` (height, width), its outline included, as LabelMe paints it.

    Raises Reject (`bad_annotations`) naming `file` for a polygon that covers nothing.
    """
    try:
        return polygons.fill_outlined(shape.points, size)
    except (ValueError, OverflowError) as error:
        raise Reject("bad_annotations", f"{shape.label}: {error}", file.name) from error
