"""Polygons as pixels. Two rules, stated exactly, because converters of public masks differ by up to 10 % of the area.

`fill`: a pixel belongs to the polygon when its centre lies inside it or on its boundary. The number of pixels is the
polygon's area on average, whatever its shape. This is the rule for coordinates that measure the plane.

`fill_outlined`: the vertices are pixels, and the pixels that the outline is drawn through belong to the polygon too.
This is how LabelMe and OpenCV's fillPoly paint; a region grows by about half a pixel all around.

In both, a place belongs to the inside when a ray from it crosses the outline an odd number of times (even-odd rule,
as in OpenCV, Pillow and MATLAB's poly2mask). What lies outside the image is cut off.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medshards.curate.sample import Region

ON_BOUNDARY = 1e-9  # px: a centre nearer than this to the boundary lies on it
FARTHEST = 1 << 20  # px: coordinates beyond are no pixels of any image


def fill(points: ArrayLike, size: tuple[int, int], centre: float = 0.5) -> Region:
    """The pixels of an image whose centres lie inside the polygon or on its boundary.

    points: N×2, (x, y) in px; x runs along columns. The last point need not repeat the first.
    size: (height, width) of the image in px.
    centre: coordinate of the first pixel's centre: 0.5 where pixel 0 spans [0, 1] (COCO, LabelMe, Aperio), 0 where
        coordinates are indices of rows and columns.

    A polygon that covers no pixel centre gives an empty region. Raises ValueError for fewer than three points,
    numbers that are not finite, and a polygon that lies outside the image altogether.
    """
    corners = _checked(points, size) - centre  # now centres have whole coordinates
    low, high = corners.min(axis=0), corners.max(axis=0)
    left, top = np.maximum(np.ceil(low - ON_BOUNDARY), 0).astype(int)
    right = min(int(np.floor(high[0] + ON_BOUNDARY)), size[1] - 1)
    bottom = min(int(np.floor(high[1] + ON_BOUNDARY)), size[0] - 1)
    if right < left or bottom < top:
        return Region(np.zeros((0, 0), bool), int(top), int(left), 0)
    rows, starts, ends = (np.concatenate(pair) for pair in zip(_inside(corners), _flat(corners), strict=True))
    first = np.maximum(np.ceil(starts - ON_BOUNDARY), left).astype(int)
    last = np.minimum(np.floor(ends + ON_BOUNDARY), right).astype(int)
    kept = (first <= last) & (rows >= top) & (rows <= bottom)
    steps = np.zeros(
        (bottom - top + 1, right - left + 2), np.int32
    )  # +1 where a run begins, -1 behind its end
    np.add.at(steps, (rows[kept] - top, first[kept] - left), 1)
    np.add.at(steps, (rows[kept] - top, last[kept] - left + 1), -1)
    return Region.of(steps.cumsum(axis=1)[:, :-1] > 0, int(top), int(left))


def fill_outlined(vertices: ArrayLike, size: tuple[int, int]) -> Region:
    """The pixels inside a polygon of pixels and those that its outline, a line one pixel wide, passes through.

    vertices: N×2, (column, row), rounded to the nearest pixel here. size: (height, width) of the image in px.
    At least one pixel is found unless all lie outside the image. Raises ValueError as `fill` does.
    """
    pixels = np.rint(_checked(vertices, size)).astype(np.int32)
    left, top = np.clip(pixels.min(axis=0), 0, (size[1] - 1, size[0] - 1))
    right, bottom = np.clip(pixels.max(axis=0), 0, (size[1] - 1, size[0] - 1))
    canvas = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(canvas, [pixels - (left, top)], 1)
    return Region.of(canvas, int(top), int(left))


def _checked(points: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    try:
        corners = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a polygon is a list of (x, y): {error}") from error
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ValueError(
            f"a polygon has three points (x, y) or more; found an array of shape {corners.shape}"
        )
    if not np.isfinite(corners).all() or np.abs(corners).max() > FARTHEST:
        raise ValueError("a polygon has a coordinate that is no place in an image")
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    height, width = size
    if right < 0 or bottom < 0 or left > width or top > height:
        place = f"x {left:g} to {right:g}, y {top:g} to {bottom:g}"
        raise ValueError(f"a polygon spans {place}: outside its image of {width} x {height} px")
    return corners


Runs = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # row, start and end of stretches of rows


def _inside(corners: NDArray[np.float64]) -> Runs:
    """Row, start and end of every stretch of a row of centres that lies inside the polygon."""
    following = np.roll(corners, -1, axis=0)
    upward = corners[:, 1] <= following[:, 1]
    upper = np.where(upward[:, None], corners, following)  # the end with the smaller y
    lower = np.where(upward[:, None], following, corners)
    # an edge crosses the rows in [upper y, lower y): each vertex counts for one of its two edges, flat edges for none
    first = np.ceil(upper[:, 1]).astype(int)
    count = np.ceil(lower[:, 1]).astype(int) - first
    edge = np.repeat(np.arange(len(corners)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    along = (row - upper[edge, 1]) / (lower[edge, 1] - upper[edge, 1])
    x = upper[edge, 0] + along * (lower[edge, 0] - upper[edge, 0])
    order = np.lexsort((x, row))
    return row[order][::2], x[order][::2], x[order][1::2]


def _flat(corners: NDArray[np.float64]) -> Runs:
    """Row, start and end of every flat edge, and every vertex as an edge of length 0, that lies in a row of centres."""
    following = np.roll(corners, -1, axis=0)
    following = np.where((corners[:, 1] == following[:, 1])[:, None], following, corners)
    row = np.rint(corners[:, 1])
    on = np.abs(corners[:, 1] - row) < ON_BOUNDARY
    start = np.minimum(corners[:, 0], following[:, 0])[on]
    end = np.maximum(corners[:, 0], following[:, 0])[on]
    return row[on].astype(int), start, end
