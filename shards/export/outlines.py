"""The outline of a mask as one polygon along the edges of its pixels, so that filling it gives the mask again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int]  # (x, y): pixel (row, column) spans x from column to column + 1


def rings(mask: NDArray[Any]) -> list[list[Corner]]:
    """The closed outlines of a mask (H×W), holes among them, each as its corners; filled by the even-odd rule they
    give the mask."""
    padded = np.pad(mask.astype(bool), 1)
    inside = padded[1:-1, 1:-1]
    following: dict[Corner, list[Corner]] = {}
    # each edge between inside and outside, walked with the inside on the right
    sides = (
        (~padded[:-2, 1:-1], (0, 0), (1, 0)),  # above
        (~padded[1:-1, 2:], (1, 0), (1, 1)),  # right
        (~padded[2:, 1:-1], (1, 1), (0, 1)),  # below
        (~padded[1:-1, :-2], (0, 1), (0, 0)),  # left
    )
    for outside, (x0, y0), (x1, y1) in sides:
        for row, column in zip(*np.nonzero(inside & outside), strict=True):
            start = (int(column) + x0, int(row) + y0)
            following.setdefault(start, []).append((int(column) + x1, int(row) + y1))
    found = []
    while following:
        first = min(following, key=lambda corner: (corner[1], corner[0]))
        ring = [first]
        while True:
            ends = following[ring[-1]]
            corner = ends.pop()
            if not ends:
                del following[ring[-1]]
            if corner == first:
                break
            ring.append(corner)
        found.append(_straightened(ring))
    return found


def outline(mask: NDArray[Any]) -> tuple[list[Corner], int]:
    """One polygon for a mask (H×W), and the number of its rings.

    Further rings (other parts, holes) hang on the first by a line there and back, which has no area and, along the
    edges of pixels, meets no pixel centre.
    """
    found = rings(mask)
    if not found:
        return [], 0
    polygon, hook = list(found[0]), found[0][0]
    for ring in found[1:]:
        bend = ring[0][0], hook[1]
        polygon += [hook, bend, *ring, ring[0], bend]
    if len(found) > 1:
        polygon.append(hook)
    return polygon, len(found)


def _straightened(ring: list[Corner]) -> list[Corner]:
    """A ring without the corners at which it goes straight on."""
    before, after = [ring[-1], *ring[:-1]], [*ring[1:], ring[0]]
    return [
        here
        for (px, py), here, (nx, ny) in zip(before, ring, after, strict=True)
        if (here[0] - px) * (ny - here[1]) != (here[1] - py) * (nx - here[0])
    ]
