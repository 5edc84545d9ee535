"""Families of mask prompts of volumes in which slices are drawn one by one (M14)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from medshards.evaluate.prompts.distance import Mask, signed_distance
from medshards.evaluate.prompts.draws import ONE, Draws
from medshards.evaluate.prompts.families.masks import millimetres
from medshards.evaluate.prompts.families.moved import FRACTION, moved, roomy_field
from medshards.evaluate.prompts.severity import Moves, Steps, moves
from medshards.evaluate.prompts.target import Part, Target

EVERY = (2, 3, 4, 5, 6)  # of so many slices one is drawn
MISSING = (1, 2, 3, 5, 8)  # slices that are forgotten at each end
OFF = (1, 2, 3, 4, 5)  # slices that the whole is put too high or too low
MIRRORED = (1, 2, 3, 4, 5)  # slices that are drawn the wrong way round


def jitter(target: Target, draws: Draws) -> Moves[Part]:
    """Every slice is moved within its plane; from slice to slice the moves are an AR(1) process of coefficient 1/2
    and SD t along each axis."""
    field, start = roomy_field(target)
    steps = draws.normal(len(field), 2)
    for k in range(1, len(steps)):
        steps[k] = (512 * steps[k - 1] + 887 * steps[k]) >> 10  # 887 / 1024: the root of 3/4

    def make(knob: int) -> Part:
        slices = []
        for plane, step in zip(field, steps, strict=True):
            by = [
                (knob * int(s) << FRACTION) // (ONE * d)
                for s, d in zip(step, target.spacing[1:], strict=True)
            ]
            slices.append(moved(plane, start[1:], by))
        return stacked(slices, start[0])

    return moves(target, make, int(4 * target.radius), millimetres("t"))


def stacked(slices: list[Part], first: int) -> Part:
    """Parts of consecutive slices as a part of the volume."""
    low = [min(p.start[k] for p in slices) for k in (0, 1)]
    high = [max(p.stop[k] for p in slices) for k in (0, 1)]
    size = [h - lo for h, lo in zip(high, low, strict=True)]
    return Part(np.stack([p.window(low, size) for p in slices]), (first, *low))


def copied(target: Target, draws: Draws) -> Steps[Part]:
    """Of every k slices one is drawn and copied to its neighbours."""

    def make(crop: Mask, every: int) -> Mask:
        drawn = (np.arange(len(crop)) // every) * every + every // 2
        return crop[np.minimum(drawn, len(crop) - 1)]

    return _steps(target, EVERY, "every", make)


def interpolated(target: Target, draws: Draws) -> Steps[Part]:
    """Of every k slices one is drawn; between them the signed distances within the slices run linearly."""
    room = np.pad(target.mask.crop, [(0, 0), (1, 1), (1, 1)])
    planes = np.stack([signed_distance(plane, target.spacing[1:]) for plane in room]).astype(np.int64)

    def make(crop: Mask, every: int) -> Mask:
        drawn = [*range(0, len(crop) - 1, every), len(crop) - 1]
        made = np.zeros_like(planes, bool)
        for low, high in zip(drawn, drawn[1:] or drawn, strict=False):
            for k in range(low, high + 1):
                between = planes[low] * (high - k) + planes[high] * (k - low)
                made[k] = (between if high > low else planes[low]) <= 0
        return made[:, 1:-1, 1:-1]

    return _steps(target, EVERY, "every", make)


def ends_missing(target: Target, draws: Draws) -> Steps[Part]:
    """The first and last n slices are not drawn."""

    def make(crop: Mask, number: int) -> Mask:
        made = np.zeros_like(crop)
        made[number : len(crop) - number] = crop[number : len(crop) - number]
        return made

    return _steps(target, MISSING, "slices", make)


def off_by(target: Target, draws: Draws) -> Steps[Part]:
    """The whole lies n slices too high, or too low, by lot."""
    sign = draws.choice((-1, 1))
    made = []
    for number in OFF:
        start = (target.mask.start[0] + sign * number, *target.mask.start[1:])
        made.append((Part(target.mask.crop, start), {"slices": sign * number}))
    return Steps(made)


def mirrored(target: Target, draws: Draws) -> Steps[Part]:
    """n slices are mirrored, left for right, in the middle of the frame as a viewer would."""
    order = draws.order(len(target.mask.crop))

    def make(crop: Mask, number: int) -> Mask:
        made = crop.copy()
        for k in order[:number]:
            made[k] = crop[k, :, ::-1]
        return made

    width = target.shape[-1]
    left = min(target.mask.start[-1], width - target.mask.stop[-1])
    window = (*target.mask.start[:-1], left)
    crop = target.mask.window(window, (*target.mask.crop.shape[:-1], width - 2 * left))
    return Steps([(Part(make(crop, n), window) if n <= len(crop) else None, {"slices": n}) for n in MIRRORED])


def _steps(
    target: Target, numbers: Iterable[int], name: str, make: Callable[[Mask, int], Mask]
) -> Steps[Part]:
    """The prompt of each number; None where the volume has too few slices for it to change anything."""
    made = []
    for number in numbers:
        crop = make(target.mask.crop, number)
        changed = bool((crop != target.mask.crop).any())
        made.append((Part(crop, target.mask.start) if changed else None, {name: number, "unit": "slices"}))
    return Steps(made)
