"""Families of point prompts (P1 to P6): clicks at voxels, wanted (True) or unwanted (False)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medshards.evaluate.prompts.distance import UNITS, squared_from
from medshards.evaluate.prompts.draws import ONE, Draws
from medshards.evaluate.prompts.severity import Steps
from medshards.evaluate.prompts.target import Target

OFF = (
    1,
    2,
    5,
    10,
    20,
)  # mm (px): SD of the distance from the deepest point; radius that a click is snapped over
DEPTHS = (0.5, 0.35, 0.2, 0.1, 0.02)  # P3: depth of a click, of that of the deepest point
WRONG = (0.1, 0.2, 0.3, 0.4, 0.5)  # P4: part of the clicks with the wrong sign
COUNTS = (1, 3, 5, 10, 20)  # clicks
CLICKS = 10  # of P4


@dataclass(frozen=True)
class Points:
    """Clicks in the order in which they are given. at: index of the voxel along each axis. wanted: the sign."""

    at: tuple[tuple[int, ...], ...]
    wanted: tuple[bool, ...]


def off_centre(target: Target, draws: Draws) -> Steps[Points]:
    """P1: the deepest point, moved by a Gaussian of SD t along each axis; it may land outside."""
    step = draws.normal(len(target.shape))
    deepest = [int(k + s) for k, s in zip(target.deepest, target.part.start, strict=True)]
    made = []
    for t in OFF:
        point = []
        for at, part, spacing, size in zip(deepest, step, target.spacing, target.shape, strict=True):
            by = (2 * t * UNITS * int(part) + ONE * spacing) // (2 * ONE * spacing)  # rounded to the nearest
            point.append(min(max(at + by, 0), size - 1))
        made.append((Points((tuple(point),), (True,)), {"t": t}))
    return Steps(made)


def inside(target: Target, draws: Draws) -> Steps[Points]:
    """P2: clicks anywhere inside; more and more of them, each step beginning with those of the last."""
    points = _scattered(target, draws, max(COUNTS))
    return Steps([(Points(points[:n], (True,) * n), {"clicks": n}) for n in COUNTS])


def near_border(target: Target, draws: Draws) -> Steps[Points]:
    """P3: a click at a fraction of the greatest depth, nearer and nearer to the outline."""
    word = draws.words(1)[0]
    depth = np.where(target.part.crop, -target.refined, 0)
    deepest = int(depth.max())
    made = []
    for part in DEPTHS:
        away = np.where(target.part.crop, np.abs(depth - int(deepest * part)), deepest + 1)
        nearest = np.argwhere(away <= max(int(away.min()), min(target.spacing) // 2))
        at = nearest[int(word) % len(nearest)]
        made.append((Points((_in_frame(target, at),), (True,)), {"depth": part}))
    return Steps(made)


def wrong_signs(target: Target, draws: Draws) -> Steps[Points]:
    """P4: clicks of which a fraction has the wrong sign: inside and yet unwanted."""
    points = _scattered(target, draws, CLICKS)
    order = draws.order(CLICKS)
    made = []
    for part in WRONG:
        wrong = set(order[: round(part * CLICKS)])
        signs = tuple(k not in wrong for k in range(CLICKS))
        made.append((Points(points, signs), {"fraction": part, "clicks": CLICKS}))
    return Steps(made)


def another_order(target: Target, draws: Draws) -> Steps[Points]:
    """P5: the clicks of a step of P2, half of them wanted and inside, half unwanted and just outside, shuffled."""
    around = np.argwhere(~target.part.crop & (target.signed <= 4 * max(target.spacing)))
    made = []
    for n in COUNTS:
        points = _scattered(target, draws, n)
        signs = [True] * n
        for k in range(1, n, 2):
            if len(around):
                points = (
                    *points[:k],
                    _in_frame(target, around[draws.integer(0, len(around))]),
                    *points[k + 1 :],
                )
                signs[k] = False
        order = draws.order(n)
        made.append((Points(tuple(points[k] for k in order), tuple(signs[k] for k in order)), {"clicks": n}))
    return Steps(made)


def brightest(target: Target, draws: Draws) -> Steps[Points]:
    """P6: a click inside that is snapped to the brightest voxel within t, as readers of PET do."""
    (click,) = _scattered(target, draws, 1)
    made = []
    for t in OFF:
        reach = [t * UNITS // step for step in target.spacing]
        low = [max(c - r, 0) for c, r in zip(click, reach, strict=True)]
        window = tuple(slice(lo, c + r + 1) for lo, c, r in zip(low, click, reach, strict=True))
        values = target.scene.image[window]
        centre = [c * step for c, step in zip(click, target.spacing, strict=True)]
        squared = squared_from(centre, low, values.shape, target.spacing)
        seen = np.where(squared <= (t * UNITS) ** 2, values, np.iinfo(values.dtype).min)
        at = np.unravel_index(int(np.argmax(seen)), seen.shape)
        point = tuple(int(k) + lo for k, lo in zip(at, low, strict=True))
        made.append((Points((point,), (True,)), {"t": t}))
    return Steps(made)


def landed(target: Target, points: Points) -> list[bool]:
    """Whether each click lies inside the target."""
    found = []
    for at in points.at:
        index = [a - s for a, s in zip(at, target.mask.start, strict=True)]
        hit = all(0 <= k < n for k, n in zip(index, target.mask.crop.shape, strict=True))
        found.append(hit and bool(target.mask.crop[tuple(index)]))
    return found


def _scattered(target: Target, draws: Draws, count: int) -> tuple[tuple[int, ...], ...]:
    """Voxels drawn uniformly, and independently, from the inside."""
    voxels = np.flatnonzero(target.part.crop)
    chosen = [voxels[draws.integer(0, len(voxels))] for _ in range(count)]
    shape = target.part.crop.shape
    return tuple(_in_frame(target, map(int, np.unravel_index(int(k), shape))) for k in chosen)


def _in_frame(target: Target, at: Iterable[int]) -> tuple[int, ...]:
    return tuple(int(k) + s for k, s in zip(at, target.part.start, strict=True))
