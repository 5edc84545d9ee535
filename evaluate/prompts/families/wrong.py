"""Families of mask prompts that show the wrong thing whole: lost components, other classes (M11, M15)."""

from __future__ import annotations

import numpy as np

from medshards.evaluate.prompts.distance import squared_distance
from medshards.evaluate.prompts.draws import Draws
from medshards.evaluate.prompts.families.masks import components
from medshards.evaluate.prompts.severity import Steps
from medshards.evaluate.prompts.target import Part, Target

SIDES = (("left_", "right_"), ("right_", "left_"))
TOUCH = 2  # voxels apart, at most: classes that touch


def components_lost(target: Target, draws: Draws) -> Steps[Part]:
    """M11: without the smallest component, without a random one, with the largest alone."""
    parts = components(target.mask)
    if len(parts) < 2:
        return Steps([(None, {"components": len(parts)})] * 3)
    gone = draws.integer(0, len(parts))
    kept = {
        "smallest lost": parts[:-1],
        "one lost": [p for k, p in enumerate(parts) if k != gone],
        "largest alone": parts[:1],
    }
    return Steps([(_together(own), {"what": what}) for what, own in kept.items()])


def neighbour(target: Target, draws: Draws) -> Steps[Part]:
    """M15: the mask of the class that lies nearest."""
    other, part, _ = nearest(target)
    return Steps([(part, {"class": other})])


def united(target: Target, draws: Draws) -> Steps[Part]:
    """M15: together with the class that it touches; unreachable where none does."""
    other, part, apart = nearest(target)
    touches = part is not None and apart <= TOUCH * max(target.spacing)
    return Steps([(_together([target.mask, part]) if touches and part else None, {"class": other})])


def other_side(target: Target, draws: Draws) -> Steps[Part]:
    """M15: the organ of the other side."""
    name = opposite(target.concept)
    return Steps([(target.scene.classes.get(name), {"class": name})])


def other_patient(target: Target, draws: Draws) -> Steps[Part]:
    """M15: the same organ of another patient, at the same place of the frame."""
    found = target.scene.borrow(target.concept)
    if found is None:
        return Steps([(None, {"from": None})])
    return Steps([(found[1].within(target.shape), {"from": found[0]})])


def opposite(concept: str) -> str:
    """The concept of the other side: left_kidney of right_kidney; "" where a concept has no side."""
    for side, other in SIDES:
        if concept.startswith(side):
            return other + concept.removeprefix(side)
    return ""


def nearest(target: Target) -> tuple[str, Part | None, float]:
    """The class nearest to the target, its mask, and how far it lies (units); the first by name among equals."""
    found: tuple[float, str, Part | None] = (np.inf, "", None)
    others = [(c, p) for c, p in sorted(target.scene.classes.items()) if c != target.concept]
    for concept, part in others:
        low = [min(a, b) for a, b in zip(part.start, target.mask.start, strict=True)]
        high = [max(a, b) for a, b in zip(part.stop, target.mask.stop, strict=True)]
        size = [h - lo for h, lo in zip(high, low, strict=True)]
        gap = _box_gap(part, target)
        if gap >= found[0]:
            continue  # even the boxes lie farther apart
        squared = squared_distance(target.mask.window(low, size), target.spacing)
        apart = float(np.sqrt(float(squared[part.window(low, size)].min())))
        if apart < found[0]:
            found = (apart, concept, part)
    return found[1], found[2], found[0]


def _box_gap(part: Part, target: Target) -> float:
    """Distance (units) between the voxels of two boxes, at least."""
    gaps = [
        max(a - d, b - c, -1) + 1
        for a, c, b, d in zip(part.start, part.stop, target.mask.start, target.mask.stop, strict=True)
    ]
    return float(
        np.sqrt(sum(((g if g > 0 else 0) * s) ** 2 for g, s in zip(gaps, target.spacing, strict=True)))
    )


def _together(parts: list[Part]) -> Part:
    low = [min(p.start[k] for p in parts) for k in range(parts[0].crop.ndim)]
    high = [max(p.stop[k] for p in parts) for k in range(parts[0].crop.ndim)]
    size = [h - lo for h, lo in zip(high, low, strict=True)]
    made = np.zeros(size, bool)
    for part in parts:
        made |= part.window(low, size)
    return Part(made, tuple(low))
