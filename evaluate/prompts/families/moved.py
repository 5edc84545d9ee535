"""Families of mask prompts that are made anew for every knob: moved, turned, redrawn (M5, M6, M9)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.prompts.distance import UNITS
from medshards.evaluate.prompts.draws import ONE, Draws
from medshards.evaluate.prompts.families.masks import millimetres
from medshards.evaluate.prompts.severity import Facts, Moves, moves
from medshards.evaluate.prompts.target import Part, Target

FRACTION = 10  # bits of a fraction of a voxel
TURN = 20  # bits of an entry of a matrix
DEGREES = UNITS  # units in a degree; a factor of 1 is as many


def shift(target: Target, draws: Draws) -> Moves[Part]:
    """M5: moved by t in a uniform random direction, to a fraction of a voxel: where the signed distance, moved
    linearly, is at most 0."""
    direction = draws.direction(len(target.shape))
    field, start = roomy_field(target)

    def make(knob: int) -> Part:
        by = [
            (knob * int(d) << FRACTION) // (ONE * s) for d, s in zip(direction, target.spacing, strict=True)
        ]
        return moved(field, start, by)

    extent = sum(n * s for n, s in zip(target.mask.crop.shape, target.spacing, strict=True))
    return moves(
        target, make, extent, millimetres("t", direction=[round(int(d) / ONE, 4) for d in direction])
    )


def roomy_field(target: Target) -> tuple[NDArray[np.int32], tuple[int, ...]]:
    """Distance to the smooth outline in the target's box and two voxels around it, and the frame's index of its first
    voxel.

    Beyond the frame is background. Distances are cut at 2^20 units, so that 2^10 of them fit into 32 bits.
    """
    padded = np.pad(np.clip(target.refined, -(1 << 20), 1 << 20), 2, constant_values=2 * max(target.spacing))
    window = tuple(
        slice(m - s, m - s + n + 4)
        for m, s, n in zip(target.mask.start, target.part.start, target.mask.crop.shape, strict=True)
    )
    return padded[window], tuple(m - 2 for m in target.mask.start)


def moved(field: NDArray[np.int32], start: Sequence[int], by: Sequence[int]) -> Part:
    """{field ≤ 0} after a shift by 2⁻¹⁰ voxels along each axis, linear between voxels; the outermost ones are lost."""
    at = []
    for axis, part in enumerate(by):
        whole, rest = divmod(int(part), 1 << FRACTION)
        at.append(start[axis] + whole + 1)
        lines = np.moveaxis(field, axis, 0)  # a view
        mixed = lines[1:] * np.int32((1 << FRACTION) - rest)
        mixed += lines[:-1] * np.int32(rest)
        mixed >>= FRACTION
        field = np.moveaxis(mixed, 0, axis)
    return Part(field <= 0, tuple(at))


def rotate(target: Target, draws: Draws) -> Moves[Part]:
    """M6: turned about its centroid, around a random axis (of a picture: its own), one way or the other."""
    if len(target.shape) == 2:
        sign = draws.choice((-1, 1))
        return _mapped(target, lambda knob: _plane_turn(sign * _radians(knob)), 180 * DEGREES, _degrees(sign))
    axis = [int(v) / ONE for v in draws.direction(3)]

    def facts(knob: int) -> dict[str, object]:
        return {"degrees": round(knob / DEGREES, 4), "axis": [round(v, 4) for v in axis]}

    return _mapped(target, lambda knob: _turn(axis, _radians(knob)), 180 * DEGREES, facts)


def scale(target: Target, draws: Draws) -> Moves[Part]:
    """M6: scaled about its centroid: larger or smaller, by lot."""
    larger = bool(draws.integer(0, 2))
    axes = len(target.shape)

    def factor(knob: int) -> float:
        return 1 + knob / UNITS if larger else 1 / (1 + knob / UNITS)

    return _mapped(
        target,
        lambda knob: np.eye(axes) / factor(knob),
        2 * UNITS,
        lambda knob: {"factor": round(factor(knob), 4)},
    )


def _radians(knob: int) -> float:
    return math.radians(knob / DEGREES)


def _degrees(sign: int) -> Facts:
    return lambda knob: {"degrees": round(sign * knob / DEGREES, 4)}


def _plane_turn(angle: float) -> NDArray[np.float64]:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _turn(axis: Sequence[float], angle: float) -> NDArray[np.float64]:
    """Rotation matrix about a unit axis (Rodrigues)."""
    a, b, c = axis
    cross = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
    turn: NDArray[np.float64] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
    return turn


def _mapped(
    target: Target, inverse: Callable[[int], NDArray[np.float64]], limit: int, facts: Facts
) -> Moves[Part]:
    """A mask read through a matrix about its centroid: each voxel is what lies where the matrix takes it."""
    points = np.argwhere(target.mask.crop)
    axes = len(target.shape)
    # centroid in 2⁻²⁰ voxels from the start of the mask's crop
    centre = [(int(points[:, k].sum()) << TURN) // len(points) for k in range(axes)]
    ratio = np.array(target.spacing)[None, :] / np.array(target.spacing)[:, None]
    corners = np.array(list(product(*((-1, n) for n in target.mask.crop.shape))))

    def make(knob: int) -> Part:
        matrix = inverse(knob)
        to_source = [[round(float(v) * (1 << TURN)) for v in row] for row in matrix * ratio]
        offset = corners - np.array(centre) / (1 << TURN)
        ends = offset @ (np.linalg.inv(matrix) * ratio).T + np.array(centre) / (1 << TURN)
        low = np.floor(ends.min(0)).astype(int) - 1
        size = np.ceil(ends.max(0)).astype(int) + 2 - low
        where = []
        for row, middle in zip(to_source, centre, strict=True):
            at = np.full(tuple(size), middle + (1 << (TURN - 1)), np.int64)  # half a voxel: the nearest one
            for axis, entry in enumerate(row):
                shape = [1] * axes
                shape[axis] = -1
                place = (np.arange(size[axis], dtype=np.int64) + int(low[axis])) << TURN
                at += (((place - centre[axis]) * entry) >> TURN).reshape(shape)
            where.append(at >> TURN)
        inside = np.ones(tuple(size), bool)
        for at, n in zip(where, target.mask.crop.shape, strict=True):
            inside &= (at >= 0) & (at < n)
        found = np.zeros(tuple(size), bool)
        found[inside] = target.mask.crop[tuple(at[inside] for at in where)]
        return Part(found, tuple(int(s + lo) for s, lo in zip(target.mask.start, low, strict=True)))

    return moves(target, make, limit, facts)


def coarse(target: Target, draws: Draws, part: tuple[int, int] = (1, 2)) -> Moves[Part]:
    """M9: drawn with a brush of square cells of side t: a cell is filled when at least a part of it (numerator,
    denominator) is in the mask. The grid of cells lies at a random place."""
    least, of = part
    offset = [draws.integer(0, ONE) for _ in target.shape]

    def make(knob: int) -> Part:
        crop = target.part.crop
        cells = []
        for size, step, o in zip(crop.shape, target.spacing, offset, strict=True):
            cell = (np.arange(size, dtype=np.int64) * step + ((o * knob) >> 16)) // max(knob, 1)
            cells.append(np.flatnonzero(np.diff(cell, prepend=-1)))
        counts = crop.astype(np.int64)
        for axis, first in enumerate(cells):
            counts = np.add.reduceat(counts, first, axis=axis)
        widths = [np.diff(first, append=size) for first, size in zip(cells, crop.shape, strict=True)]
        full = np.ones((1,) * crop.ndim, np.int64)
        for axis, width in enumerate(widths):
            shape = [1] * crop.ndim
            shape[axis] = -1
            full = full * width.reshape(shape)
        drawn = of * counts >= least * full
        for axis, width in enumerate(widths):
            drawn = np.repeat(drawn, width, axis=axis)
        return Part(drawn, target.part.start)

    return moves(target, make, int(4 * target.radius), millimetres("cell"))


def coarse_generous(target: Target, draws: Draws) -> Moves[Part]:
    """M9 with cells that are filled when a quarter of them is in the mask."""
    return coarse(target, draws, (1, 4))


def coarse_stingy(target: Target, draws: Draws) -> Moves[Part]:
    """M9 with cells that are filled when three quarters of them are in the mask."""
    return coarse(target, draws, (3, 4))
