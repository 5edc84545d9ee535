"""Families of box prompts (B1 to B7). Boxes are edges in 10⁻⁴ voxels: a box around one voxel k runs from k to k + 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.draws import ONE, Draws
from medshards.evaluate.prompts.families.masks import components
from medshards.evaluate.prompts.families.wrong import nearest
from medshards.evaluate.prompts.severity import Facts, Moves, Steps
from medshards.evaluate.prompts.target import Part, Target

MARGINS = (1, 2, 5, 10, 20)  # voxels
LEAST = UNITS // 10  # a side never gets shorter


@dataclass(frozen=True)
class Box:
    """low, high: edges along each axis of the frame, in 10⁻⁴ voxels. slices: of a volume whose slices have boxes of
    their own, the box of each slice; then low and high are those of all together."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    slices: tuple[Box, ...] = ()

    @classmethod
    def around(cls, part: Part) -> Box:
        """The tight box of a mask."""
        tight = part.within([1 << 40] * part.crop.ndim)
        return cls(tuple(s * UNITS for s in tight.start), tuple(s * UNITS for s in tight.stop))

    def within(self, shape: Sequence[int]) -> Box:
        """The box inside a frame."""
        low = tuple(min(max(v, 0), n * UNITS) for v, n in zip(self.low, shape, strict=True))
        high = tuple(min(max(v, 0), n * UNITS) for v, n in zip(self.high, shape, strict=True))
        return Box(low, high, tuple(b.within(shape) for b in self.slices))

    @property
    def volume(self) -> int:
        """In 10⁻⁴ voxels to the power of the number of axes."""
        if self.slices:
            return sum(b.volume for b in self.slices)
        volume = 1
        for low, high in zip(self.low, self.high, strict=True):
            volume *= max(high - low, 0)
        return volume


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, of which the first may have slices; 0 when both are empty."""
    common = sum(_common(b, other).volume for b in one.slices or (one,))
    union = one.volume + other.volume - common
    return common / union if union else 0.0


def _common(one: Box, other: Box) -> Box:
    return Box(
        tuple(max(a, b) for a, b in zip(one.low, other.low, strict=True)),
        tuple(min(a, b) for a, b in zip(one.high, other.high, strict=True)),
    )


def noise(target: Target, draws: Draws) -> Moves[Box]:
    """B1: every edge moves on its own, by up to f of the side's length, either way; one at the border of the frame can
    only move inwards."""
    box = _tight(target)
    parts = [[draws.integer(-ONE, ONE + 1) for _ in box.low] for _ in range(2)]
    for axis, size in enumerate(target.shape):
        if box.low[axis] == 0:
            parts[0][axis] = abs(parts[0][axis])
        if box.high[axis] == size * UNITS:
            parts[1][axis] = -abs(parts[1][axis])
    return _moves(target, lambda knob: _by_sides(box, parts, knob), 4 * UNITS, _fraction)


def shift(target: Target, draws: Draws) -> Moves[Box]:
    """B2: the whole box moves in a random direction by f of its sides."""
    box = _tight(target)
    direction = [int(d) for d in draws.direction(len(box.low))]
    return _moves(target, lambda knob: _by_sides(box, [direction] * 2, knob), 4 * UNITS, _fraction)


def too_large(target: Target, draws: Draws) -> Moves[Box]:
    """B3: every edge moves outwards by f of its side."""
    box = _tight(target)
    parts = [[-ONE] * len(box.low), [ONE] * len(box.low)]
    return _moves(target, lambda knob: _by_sides(box, parts, knob), 4 * UNITS, _fraction)


def too_tight(target: Target, draws: Draws) -> Moves[Box]:
    """B3: every edge moves inwards by f of its side."""
    box = _tight(target)
    parts = [[ONE] * len(box.low), [-ONE] * len(box.low)]
    return _moves(target, lambda knob: _by_sides(box, parts, knob), UNITS // 2 - 1, _fraction)


def margin(target: Target, draws: Draws) -> Steps[Box]:
    """B4: k px more on every side."""
    box = _tight(target)
    made = []
    for k in MARGINS:
        grown = Box(tuple(v - k * UNITS for v in box.low), tuple(v + k * UNITS for v in box.high))
        made.append((grown.within(target.shape), {"k": k, "unit": "px"}))
    return Steps(made)


def slice_jitter(target: Target, draws: Draws) -> Moves[Box]:
    """B5: the box of a volume drawn slice by slice: in each slice it moves on its own by up to f of its sides."""
    box = _tight(target)
    first, last = box.low[0] // UNITS, box.high[0] // UNITS
    parts = [[0, draws.integer(-ONE, ONE + 1), draws.integer(-ONE, ONE + 1)] for _ in range(first, last)]

    def make(knob: int) -> Box:
        slices = []
        for k, part in zip(range(first, last), parts, strict=True):
            plane = Box((k * UNITS, *box.low[1:]), ((k + 1) * UNITS, *box.high[1:]))
            slices.append(_by_sides(plane, [part] * 2, knob))
        low = tuple(min(b.low[a] for b in slices) for a in range(3))
        return Box(low, tuple(max(b.high[a] for b in slices) for a in range(3)), tuple(slices))

    return _moves(target, make, 4 * UNITS, _fraction)


def wrong_instance(target: Target, draws: Draws) -> Steps[Box]:
    """B6: the box of another object of the class; where there is none, of the nearest class."""
    others = [p for p in target.scene.instances.get(target.concept, []) if not p.common(target.mask)]
    if others:
        part: Part | None = others[draws.integer(0, len(others))]
        name = target.concept
    else:
        name, part, _ = nearest(target)
    return Steps([(Box.around(part) if part else None, {"class": name})])


def several(target: Target, draws: Draws) -> Steps[Box]:
    """B7: one box around all objects of the class, of which there are several."""
    parts = target.scene.instances.get(target.concept) or components(target.mask)
    everything = target.scene.classes[target.concept]
    box = Box.around(everything) if len(parts) > 1 else None
    return Steps([(box if box != _tight(target) else None, {"objects": len(parts)})])


def _tight(target: Target) -> Box:
    return Box.around(target.mask)


def _by_sides(box: Box, parts: Sequence[Sequence[int]], knob: int) -> Box:
    """Low and high edges moved by knob · part of the sides; never shorter than `LEAST`."""
    low, high = [], []
    for a, b, down, up in zip(box.low, box.high, *parts, strict=True):
        first = a + (knob * down * (b - a)) // (UNITS * ONE)
        second = b + (knob * up * (b - a)) // (UNITS * ONE)
        low.append(min(first, second - LEAST) if first < second else (first + second - LEAST) // 2)
        high.append(max(second, low[-1] + LEAST))
    return Box(tuple(low), tuple(high))


def _fraction(knob: int) -> dict[str, object]:
    return {"fraction_of_side": round(knob / UNITS, 4)}


def _moves(target: Target, make: Callable[[int], Box], limit: int, facts: Facts) -> Moves[Box]:
    tight = _tight(target)
    return Moves(lambda knob: make(knob).within(target.shape), limit, facts, lambda box: iou(box, tight))
