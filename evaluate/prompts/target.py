"""What a prompt asks for: one class or instance in one picture or volume; and masks as parts of a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.distance import Mask, refined, root, squared_distance
from medshards.vocab.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Part:
    """A mask that is True only inside a window of its frame: bool crop, and the frame's index of its first voxel.
    The crop may stand out of the frame until `within` cuts it."""

    crop: Mask
    start: tuple[int, ...]

    @property
    def stop(self) -> tuple[int, ...]:
        """The frame's index after the crop's last voxel."""
        return tuple(s + n for s, n in zip(self.start, self.crop.shape, strict=True))

    @cached_property
    def voxels(self) -> int:
        """Number of voxels in the mask."""
        return int(np.count_nonzero(self.crop))

    def within(self, shape: Sequence[int]) -> Part:
        """The part inside a frame of `shape`, its crop as tight as can be; 0 in every size when empty."""
        cut = tuple(
            slice(max(-s, 0), max(min(n, total - s), 0))
            for s, n, total in zip(self.start, self.crop.shape, shape, strict=True)
        )
        crop = self.crop[cut]
        start = [s + c.start for s, c in zip(self.start, cut, strict=True)]
        for axis in range(crop.ndim):
            hit = np.flatnonzero(crop.any(axis=tuple(k for k in range(crop.ndim) if k != axis)))
            if not hit.size:
                return Part(np.zeros((0,) * crop.ndim, bool), (0,) * crop.ndim)
            crop = crop[(slice(None),) * axis + (slice(hit[0], hit[-1] + 1),)]
            start[axis] += int(hit[0])
        return Part(np.ascontiguousarray(crop), tuple(start))

    def window(self, start: Sequence[int], shape: Sequence[int]) -> Mask:
        """The mask in the window of `shape` at `start`."""
        found = np.zeros(tuple(shape), bool)
        here, there = _common(self.start, self.crop.shape, start, shape)
        found[there] = self.crop[here]
        return found

    def common(self, other: Part) -> int:
        """Number of voxels in both."""
        here, there = _common(self.start, self.crop.shape, other.start, other.crop.shape)
        return int(np.count_nonzero(self.crop[here] & other.crop[there]))

    def whole(self, shape: Sequence[int]) -> Mask:
        """The mask in the whole frame."""
        return self.window((0,) * self.crop.ndim, shape)


def _common(
    start: Sequence[int], shape: Sequence[int], other: Sequence[int], size: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The common part of two windows, as indices of the first and of the second."""
    low = [max(a, b) for a, b in zip(start, other, strict=True)]
    high = [max(lo, min(a + n, b + m)) for lo, a, n, b, m in zip(low, start, shape, other, size, strict=True)]
    return tuple(
        tuple(slice(lo - origin, hi - origin) for lo, hi, origin in zip(low, high, at, strict=True))
        for at in (start, other)
    )  # type: ignore[return-value]


def dice(one: Part, other: Part) -> float:
    """Dice of two masks; 1 when both are empty."""
    total = one.voxels + other.voxels
    return 2 * one.common(other) / total if total else 1.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture or volume with its classes.

    key: of the sample, or id of the volume. shape: D×H×W or H×W. spacing: units (0.1 µm, or 10⁻⁴ px) along each axis.
    length: "mm" or "px". classes: mask of each concept present. asked: text of each. absent: concepts known to be
    absent. instances: masks of the single objects of a concept, where there are several. pixels: the image when it is
    asked for, int32, in thousandths of its own unit (of grey levels), so that no float decides. air: value below which
    a CT shows no body, None where that is not known. window: what is shown black and white, in
    thousandths. borrow: key of another patient's scene and its mask of a concept, if there is one. vocabulary: that of
    the corpus.
    """

    key: str
    dataset: str
    shape: tuple[int, ...]
    spacing: tuple[int, ...]
    length: str
    classes: dict[str, Part]
    asked: dict[str, str]
    pixels: Callable[[], NDArray[np.int32]]
    absent: tuple[str, ...] = ()
    instances: dict[str, list[Part]] = field(default_factory=dict)
    air: int | None = None
    window: tuple[float, float] = (0.0, 255_000.0)
    borrow: Callable[[str], tuple[str, Part] | None] = lambda concept: None
    vocabulary: Vocabulary = field(default_factory=Vocabulary.load)

    @cached_property
    def image(self) -> NDArray[np.int32]:
        """The image of the frame, decoded once."""
        return self.pixels()

    def body(self, start: Sequence[int], size: Sequence[int]) -> Mask:
        """Where the body is, in a window: everything denser than air where that is known, else all of it."""
        if self.air is None:
            return np.ones(tuple(size), bool)
        window = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        return np.asarray(self.image[window] > self.air)


class Target:
    """A class of a scene, in a window with room for whatever grows out of it.

    part: its mask in that window. spacing, shape: of the scene. outside: what lies beyond the frame, for everything
    that shrinks: True means that an organ cut by the border is not eroded from there.
    """

    def __init__(self, scene: Scene, concept: str, mask: Part, outside: bool = True) -> None:
        self.scene, self.concept, self.mask, self.outside = scene, concept, mask, outside
        self.spacing, self.shape = scene.spacing, scene.shape
        # A body of volume V grown by t has at least the volume of a ball of radius R + t, R that of the ball of
        # volume V (Brunn and Minkowski); so it has three times V, a Dice of one half, before t = (3^(1/n) − 1) R.
        room = [math.ceil((3 ** (1 / len(self.shape)) - 1) * self.radius / step) + 2 for step in self.spacing]
        low = [max(s - r, 0) for s, r in zip(mask.start, room, strict=True)]
        high = [min(s + r, n) for s, r, n in zip(mask.stop, room, self.shape, strict=True)]
        size = [h - lo for h, lo in zip(high, low, strict=True)]
        self.part = Part(mask.window(low, size), tuple(low))

    @cached_property
    def radius(self) -> float:
        """Radius, in units, of the ball (disc) of the same volume (area)."""
        volume = self.mask.voxels * float(np.prod([float(s) for s in self.spacing]))
        if len(self.shape) == 2:
            return math.sqrt(volume / math.pi)
        return float((volume * 3 / (4 * math.pi)) ** (1 / 3))

    @cached_property
    def signed(self) -> NDArray[np.int32]:
        """Distance (units) to the nearest voxel of the other kind, in the window: positive outside, negative inside.
        Beyond the room that was made for growth it is no more than a lower bound."""
        reach = int(self.radius) + 2 * max(self.spacing)
        signed = root(squared_distance(self.part.crop, self.spacing, reach))
        spans = [
            (max(m - 1, s), min(e + 1, s + n))
            for m, e, s, n in zip(
                self.mask.start, self.mask.stop, self.part.start, self.part.crop.shape, strict=True
            )
        ]
        window = tuple(slice(a - s, b - s) for (a, b), s in zip(spans, self.part.start, strict=True))
        signed[window] -= self._depth(self.part.crop[window])
        return signed

    def _depth(self, crop: Mask) -> NDArray[np.int32]:
        """Distance (units) of the voxels of a mask to the nearest one outside it; 0 outside."""
        if self.outside:
            return root(squared_distance(~crop, self.spacing))
        inner = tuple(slice(1, -1) for _ in self.shape)
        return root(squared_distance(np.pad(~crop, 1, constant_values=True), self.spacing))[inner]

    @cached_property
    def refined(self) -> NDArray[np.int32]:
        """Signed distance to a smooth outline (units)."""
        return refined(self.signed, self.spacing)

    @cached_property
    def deepest(self) -> tuple[int, ...]:
        """Index in the window of the voxel farthest from the outline, the first of them."""
        at = np.unravel_index(int(np.argmin(self.refined)), self.part.crop.shape)
        return tuple(int(k) for k in at)
