"""Outlines drawn as polygons of few corners (M8)."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.draws import Draws
from medshards.evaluate.prompts.severity import Moves, moves
from medshards.evaluate.prompts.target import Part, Target

FRACTION = 8  # bits of a fraction of a px, as cv2.fillPoly counts them


def polygon(target: Target, draws: Draws) -> Moves[Part]:
    """M8: every outline (of every slice) drawn with fewer and fewer corners and filled again; holes stay as they are.

    Corners go one by one, whichever changes the area least (Visvalingam and Whyatt, 1993), until each outline has one
    left. The corner that goes next is slid onto the line between its neighbours, so that a whole number of corners does
    not limit how near a severity is reached.
    """
    crop = np.pad(target.mask.crop, [(0, 0)] * (target.mask.crop.ndim - 2) + [(1, 1), (1, 1)])
    planes = crop.reshape(-1, *crop.shape[-2:]).view(np.uint8)
    outlines = [
        (number, outline[:, 0])
        for number, plane in enumerate(planes)
        for outline in cv2.findContours(plane, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    ]
    areas = [removal_areas(outline) for _, outline in outlines]
    order = np.argsort(np.argsort(np.concatenate(areas), kind="stable"), kind="stable")
    goes = np.split(order, np.cumsum([len(a) for a in areas])[:-1])  # when each corner of each outline goes
    corners = len(order)
    filled = _filled(planes, [(number, outline << FRACTION) for number, outline in outlines])
    holes = (filled > 0) & (planes == 0)

    def make(knob: int) -> Part:
        gone, part = divmod(knob, UNITS)
        drawn = [
            (number, _simplified(outline, when, gone, part))
            for (number, outline), when in zip(outlines, goes, strict=True)
        ]
        made = (_filled(planes, drawn) > 0) & ~holes
        start = [*target.mask.start[:-2], target.mask.start[-2] - 1, target.mask.start[-1] - 1]
        return Part(made.reshape(crop.shape), tuple(start))

    return moves(
        target,
        make,
        (corners - len(outlines)) * UNITS,
        lambda knob: {"corners": corners - knob // UNITS, "outlines": len(outlines)},
    )


def removal_areas(outline: NDArray[np.int32]) -> NDArray[np.int64]:
    """By how much (in half px²) the area of a closed outline (N×2) changes when each corner goes, in the order in which
    they go; never less than for those that went before. The last corner: the largest of all."""
    count = len(outline)
    before, after = [(k - 1) % count for k in range(count)], [(k + 1) % count for k in range(count)]
    places: list[list[int]] = outline.tolist()

    def area(k: int) -> int:
        (ax, ay), (bx, by), (cx, cy) = places[before[k]], places[k], places[after[k]]
        twice: int = abs((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
        return twice

    now = [area(k) for k in range(count)]
    waiting = [(size, k) for k, size in enumerate(now)]
    heapify(waiting)
    found, most, left = np.full(count, np.iinfo(np.int64).max), 0, count
    while left > 1:
        size, k = heappop(waiting)
        if size != now[k]:
            continue  # its neighbours have changed since
        most = max(most, size)
        found[k], now[k], left = most, -1, left - 1
        after[before[k]], before[after[k]] = after[k], before[k]
        for neighbour in (before[k], after[k]):
            now[neighbour] = area(neighbour)
            heappush(waiting, (now[neighbour], neighbour))
    return found


def _simplified(
    outline: NDArray[np.int32], when: NDArray[np.int64], gone: int, part: int
) -> NDArray[np.int32]:
    """The corners (2⁻⁸ px) left when `gone` have gone and the next has done `part` (of `UNITS`) of its way."""
    kept = np.flatnonzero(when >= gone)
    corners = outline[kept].astype(np.int64) << FRACTION
    next_ = np.flatnonzero(when[kept] == gone)
    if next_.size and part:
        (k,) = next_
        middle = (corners[k - 1] + corners[(k + 1) % len(corners)]) // 2
        corners[k] += (middle - corners[k]) * part // UNITS
    return corners.astype(np.int32)


def _filled(planes: NDArray[np.uint8], polygons: list[tuple[int, NDArray[np.int32]]]) -> NDArray[np.uint8]:
    """Polygons (plane, corners in 2⁻⁸ px), with their borders, on empty planes."""
    drawn = np.zeros_like(planes)
    for number, corners in polygons:
        cv2.fillPoly(drawn[number], [corners], 1, shift=FRACTION)
    return drawn
