"""Families of mask prompts in which voxels change sides one by one (M1 to M4, M7, M10, M12, M13).

Each function takes a target and its draws and gives the level of every voxel. Lengths are in units of 0.1 µm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medshards.evaluate.prompts.distance import UNITS, root, squared_from
from medshards.evaluate.prompts.draws import ONE, Draws
from medshards.evaluate.prompts.noise import smooth_noise
from medshards.evaluate.prompts.severity import NEVER, Facts, Levels
from medshards.evaluate.prompts.target import Part, Target

PEPPER = 12  # holes of M4, on average one for each such part of the volume below
NEAR = 2  # M13: intensities within so many standard deviations of the class's mean, at first
GREY = 1000  # a grey level, in the thousandths of a scene
SPURIOUS = 3.0  # M12, M13: a blob or a leak has room for so many times the volume of the target


def millimetres(name: str, **more: object) -> Facts:
    """Facts that give the knob under a name, in mm (px where the spacing is not known)."""
    return lambda knob: {name: round(knob / UNITS, 4), **more}


def grow(target: Target, draws: Draws) -> Levels:
    """M1: all voxels up to t from the outline are added."""
    return Levels(target, _only(~target.part.crop, target.refined), millimetres("t"))


def shrink(target: Target, draws: Draws) -> Levels:
    """M1: all voxels up to t from the outline are lost."""
    return Levels(target, _only(target.part.crop, -target.refined), millimetres("t"))


def shell(target: Target, draws: Draws) -> Levels:
    """M2: only a shell of thickness t is left."""
    depth = -target.refined
    deepest = int(depth.max())
    return Levels(
        target,
        _only(target.part.crop, deepest - depth + 1),
        lambda knob: {"t": round((deepest - knob) / UNITS, 4)},
    )


def cavity(target: Target, draws: Draws) -> Levels:
    """M3: a ball of radius t is taken out at the deepest point."""
    return Levels(target, _only(target.part.crop, _from(target, target.deepest, draws)), millimetres("t"))


def pepper(target: Target, draws: Draws) -> Levels:
    """M4: balls of radius t are taken out at random places; their number is Poisson's, `PEPPER` on average."""
    inside = np.argwhere(target.part.crop)
    count = max(1, sum(draws.integer(0, 100) < PEPPER for _ in range(100)))  # binomial, near to Poisson
    nearest = np.full(target.part.crop.shape, NEVER, np.int32)
    for _ in range(count):
        np.minimum(nearest, _from(target, inside[draws.integer(0, len(inside))], draws), out=nearest)
    return Levels(target, _only(target.part.crop, nearest), millimetres("t", holes=count))


def wobble(target: Target, draws: Draws) -> Levels:
    """M7: the outline is moved by a smooth Gaussian field of SD a; its correlation length is a quarter of the
    target's radius, at least 2 voxels."""
    length = max(int(target.radius) // 4, 2 * min(target.spacing))
    noise = smooth_noise(draws, target.part.crop.shape, target.spacing, length)
    # {d + a·g ≤ 0}: a voxel changes sides when a·|g| reaches |d|, if g has the sign for it
    changes = (noise > 0) == target.part.crop
    field = np.abs(noise[changes]).astype(np.int64) + 1
    levels = np.full(noise.shape, NEVER, np.int32)
    levels[changes] = np.minimum(np.abs(target.refined[changes]).astype(np.int64) * ONE // field + 1, NEVER)
    return Levels(target, levels, millimetres("a", correlation=round(length / UNITS, 4)))


def cut(target: Target, draws: Draws) -> Levels:
    """M10: everything on one side of a random plane is lost, a fraction f of the whole."""
    normal = draws.direction(len(target.shape))
    along = np.zeros(target.part.crop.shape, np.int64)
    for axis, (step, part) in enumerate(zip(target.spacing, normal, strict=True)):
        shape = [1] * along.ndim
        shape[axis] = -1
        along += (np.arange(along.shape[axis], dtype=np.int64) * step * int(part)).reshape(shape)
    along >>= 16
    along -= along.min() - 1  # units, from 1
    voxels, inside = target.mask.voxels, np.sort(along[target.part.crop])

    def facts(knob: int) -> dict[str, object]:
        lost = int(np.searchsorted(inside, knob, side="right"))
        return {"fraction": round(lost / voxels, 4), "normal": _rounded(normal)}

    return Levels(target, _only(target.part.crop, along), facts)


def blob(target: Target, draws: Draws) -> Levels | None:
    """M12: a spurious ball inside the body, half the target's radius away from it, or half as far as there is room for;
    None where there is none."""
    body = target.scene.body(target.part.start, target.part.crop.shape)
    apart = min(int(target.radius), int(target.signed.max(initial=1, where=body & ~target.part.crop))) // 2
    places = np.argwhere((target.signed >= apart) & body & ~target.part.crop)
    if not len(places):
        return None
    centre = places[draws.integer(0, len(places))] + np.array(target.part.start)
    point = _point(centre, target, draws)
    room = target.radius * SPURIOUS ** (1 / len(target.shape))
    while True:
        reach = [int(np.ceil(room / step)) for step in target.spacing]
        ends = zip(centre, reach, target.mask.start, target.mask.stop, target.shape, strict=True)
        spans = [(max(min(int(c) - r, a), 0), min(max(int(c) + r + 1, b), n)) for c, r, a, b, n in ends]
        low, size = [a for a, _ in spans], [b - a for a, b in spans]
        free = target.scene.body(low, size) & ~target.mask.window(low, size)
        if np.count_nonzero(free) >= SPURIOUS * target.mask.voxels or size == list(target.shape):
            break
        room *= 2  # the frame, the body or the target itself takes too much of the ball
    away = root(squared_from(point, low, size, target.spacing))
    facts = millimetres("radius", centre=[int(c) for c in centre], apart=round(apart / UNITS, 4))
    return Levels(target, _only(free, away), facts, low)


def leak(target: Target, draws: Draws) -> Levels:
    """M13: the class leaks into connected voxels whose intensity is within `NEAR` SD of its own, front by front, in
    each front the most similar first; among equals the lot decides. Where there are no more of them, within twice as
    many SD, and so on."""
    window = tuple(slice(s, s + n) for s, n in zip(target.part.start, target.part.crop.shape, strict=True))
    values = target.scene.image[window].astype(np.int64)
    own = values[target.part.crop]
    mean = int(own.sum()) // len(own)
    deviation = max(math.isqrt(int(((own - mean) ** 2).sum()) // len(own)), GREY)
    away = np.abs(values - mean)
    lot = (draws.words(values.size) % np.uint64(GREY)).astype(np.int64).reshape(values.shape)
    levels = np.full(values.shape, NEVER, np.int32)
    reached = target.part.crop.copy()
    number, within, firsts = (
        0,
        NEAR,
        [(0, NEAR)],
    )  # the front from which on intensities within so many SD are taken
    enough = (1 + SPURIOUS) * target.mask.voxels
    while not reached.all() and np.count_nonzero(reached) < enough:
        front = ndimage.binary_dilation(reached) & (away <= within * deviation) & ~reached
        if front.any():
            rank = (away[front] + lot[front]) * (UNITS - 1) // (within * deviation + GREY)
            levels[front] = number * UNITS + 1 + rank
            reached |= front
            number += 1
        else:
            within *= 2
            firsts.append((number, within))

    def facts(knob: int) -> dict[str, object]:
        taken = max(sd for first, sd in firsts if first * UNITS < max(knob, 1))
        return {"fronts": round(knob / UNITS, 4), "within_sd": taken, "mean": mean / 1000}

    return Levels(target, levels, facts)


def components(part: Part) -> list[Part]:
    """The connected components of a mask (faces and corners count), the largest first."""
    labels, count = ndimage.label(part.crop, np.ones((3,) * part.crop.ndim, int))
    parts = [Part(labels == k, part.start) for k in range(1, count + 1)]
    return sorted(parts, key=lambda p: -p.voxels)


def _point(voxel: Sequence[int], target: Target, draws: Draws) -> list[int]:
    """A point somewhere in a voxel of the frame (units): distances to it are all different."""
    return [
        int(k) * step + draws.integer(0, step) - step // 2
        for k, step in zip(voxel, target.spacing, strict=True)
    ]


def _from(target: Target, voxel: Sequence[int], draws: Draws) -> NDArray[np.int32]:
    """Distance (units) of the target's window from a point in one of its voxels."""
    point = _point([int(k) + s for k, s in zip(voxel, target.part.start, strict=True)], target, draws)
    return root(squared_from(point, target.part.start, target.part.crop.shape, target.spacing))


def _only(where: NDArray[np.bool_], levels: NDArray[Any]) -> NDArray[np.int32]:
    return np.where(where, np.clip(levels, 1, NEVER - 1), NEVER).astype(np.int32)


def _rounded(vector: NDArray[np.int64]) -> list[float]:
    return [round(float(v) / ONE, 4) for v in vector]
