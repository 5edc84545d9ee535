"""How strongly a prompt is spoilt: five steps defined on the prompt, found by bisection of one knob.

A family of perturbations draws its random field once; the knob only says how far to go. The same field at a larger
knob contains what the smaller one changed, so the severities of one prompt are nested and comparable. A step that the
knob cannot hit within `TOLERANCE` is unreachable, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.target import Part, Target, dice

LADDERS = {"dice": (0.95, 0.90, 0.80, 0.65, 0.50), "iou": (0.95, 0.90, 0.80, 0.70, 0.50)}
STEPS = 5  # of a ladder
MOST = 10  # steps of a family without one: the study's radii
TOLERANCE = 0.01
CLOSE = 0.001  # near enough to stop looking
FINE = 40  # marks on a stretch that bisection did not help on
NEVER = np.iinfo(np.int32).max  # the level of a voxel that never changes

Payload = TypeVar("Payload", covariant=True)
Facts = Callable[[int], dict[str, object]]  # what a record says of the parameters at a knob


class Knob(Protocol[Payload]):
    """A perturbation with its random field drawn. limit: the largest useful knob, a whole number."""

    limit: int

    def at(self, knob: int) -> Payload:
        """The prompt at this knob."""

    def likeness(self, knob: int) -> float:
        """Dice (IoU of boxes) of the prompt at this knob to the perfect one."""

    def facts(self, knob: int) -> dict[str, object]:
        """What the record says of the parameters."""


class Levels:
    """Voxels that change sides one after the other: each when the knob reaches its level (from 1; `NEVER`).

    start: the frame's index of the first level; None: that of the target's window.
    """

    def __init__(
        self,
        target: Target,
        levels: NDArray[np.int32],
        facts: Facts,
        start: Sequence[int] | None = None,
    ) -> None:
        self._levels, self.facts = levels, facts
        self._start = target.part.start if start is None else tuple(start)
        self._mask = target.mask.window(self._start, levels.shape)
        changing = levels < NEVER
        self._lost, self._gained = levels[changing & self._mask], levels[changing & ~self._mask]
        self._size = target.mask.voxels
        self.limit = int(levels.max(initial=0, where=changing))

    def at(self, knob: int) -> Part:
        return Part(self._mask ^ (self._levels <= knob), self._start)

    def likeness(self, knob: int) -> float:
        kept = self._size - int(np.count_nonzero(self._lost <= knob))
        gained = int(np.count_nonzero(self._gained <= knob))
        return 2 * kept / (self._size + kept + gained)


@dataclass
class Moves(Generic[Payload]):
    """A perturbation that is made anew for every knob. compare: likeness of what was made."""

    make: Callable[[int], Payload]
    limit: int
    facts: Facts
    compare: Callable[[Payload], float]
    _seen: dict[int, float] = field(default_factory=dict)

    def at(self, knob: int) -> Payload:
        return self.make(knob)

    def likeness(self, knob: int) -> float:
        if knob not in self._seen:
            self._seen[knob] = self.compare(self.make(knob))
        return self._seen[knob]


def moves(target: Target, make: Callable[[int], Part], limit: int, facts: Facts) -> Moves[Part]:
    """A perturbation of a mask that is made anew for every knob."""
    return Moves(make, max(limit, 1), facts, lambda part: dice(part.within(target.shape), target.mask))


@dataclass(frozen=True)
class Steps(Generic[Payload]):
    """A perturbation with steps of its own instead of a ladder: what each makes, and its facts."""

    made: Sequence[tuple[Payload | None, Mapping[str, object]]]


def find(knob: Knob[Payload], wanted: float) -> tuple[int, bool]:
    """The knob whose prompt is nearest to the likeness `wanted`, and whether it is within `TOLERANCE`.

    Likeness falls as the knob grows, so the middle between too little and too much is tried again and again. Where it
    falls only by and large, the first search may end at a jump; then each stretch of a coarse scale is searched, and
    last a fine scale of those stretches, on which any knob will do.
    """
    ends = (0, knob.limit) if knob.likeness(knob.limit) <= wanted else (knob.limit, knob.limit)
    best, miss = _bisect(knob, wanted, *ends)
    if miss > TOLERANCE and isinstance(knob, Moves):
        marks = sorted({knob.limit >> k for k in range(20)} | {(knob.limit >> k) * 3 // 4 for k in range(20)})
        above = [knob.likeness(mark) > wanted for mark in marks]
        steps = [
            (ends, sides) for ends, sides in zip(pairwise(marks), pairwise(above)) if sides[0] != sides[1]
        ]
        for (low, high), (first, _) in steps:
            if miss > TOLERANCE and first:
                best, miss = min((best, miss), _bisect(knob, wanted, low, high), key=lambda found: found[1])
        for (low, high), _ in steps:
            for mark in range(low, high, max((high - low) // FINE, 1)):
                if miss > TOLERANCE:
                    best, miss = min(
                        (best, miss), (mark, abs(knob.likeness(mark) - wanted)), key=lambda f: f[1]
                    )
    return best, miss <= TOLERANCE


def _bisect(knob: Knob[Payload], wanted: float, low: int, high: int) -> tuple[int, float]:
    """The nearest knob between two, and by how much it misses."""
    best, miss = high, abs(knob.likeness(high) - wanted)
    while high - low > 1 and miss > CLOSE:
        middle = (low + high) // 2
        likeness = knob.likeness(middle)
        if abs(likeness - wanted) < miss:
            best, miss = middle, abs(likeness - wanted)
        low, high = (middle, high) if likeness > wanted else (low, middle)
    return best, miss
