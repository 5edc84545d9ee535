"""The study's perturbations as families (M1c): in voxels, with the study's radii as severities."""

from __future__ import annotations

import numpy as np

from medshards.evaluate.prompts import study
from medshards.evaluate.prompts.draws import Draws
from medshards.evaluate.prompts.severity import Steps
from medshards.evaluate.prompts.target import Part, Target

RADII = range(1, 11)


def dilate(target: Target, draws: Draws) -> Steps[Part]:
    """Grown by a cube, clipped to the frame."""
    made = []
    for radius in RADII:
        grown = study.dilate(np.pad(target.mask.crop, radius), radius)
        made.append((Part(grown, tuple(s - radius for s in target.mask.start)), {"radius": radius}))
    return Steps(made)


def erode(target: Target, draws: Draws) -> Steps[Part]:
    """Shrunk by a cube; may be empty."""
    return Steps([(Part(_eroded(target, r), target.part.start), {"radius": r}) for r in RADII])


def hole(target: Target, draws: Draws) -> Steps[Part]:
    """The shell that the erosion leaves, the thinnest last; unreachable where the mask is whole."""
    made = []
    for radius in reversed(RADII):
        gone = _eroded(target, radius)
        shell = Part(target.part.crop & ~gone, target.part.start)
        made.append((shell if gone.any() else None, {"radius": radius}))
    return Steps(made)


def shift(target: Target, draws: Draws) -> Steps[Part]:
    """One draw of the study's shift."""
    by = study.draw_shift(draws, len(target.shape))
    start = tuple(s + b for s, b in zip(target.mask.start, by, strict=True))
    return Steps([(Part(target.mask.crop, start), {"by": list(by)})])


def _eroded(target: Target, radius: int) -> study.Mask:
    """Eroded in the window, whose edge is background unless it is the frame's and the border rule says otherwise."""
    edges = [
        (0 if target.outside and s == 0 else 1, 0 if target.outside and s + n == total else 1)
        for s, n, total in zip(target.part.start, target.part.crop.shape, target.shape, strict=True)
    ]
    padded = np.pad(target.part.crop, edges)
    eroded = study.erode(padded, radius)
    return eroded[
        tuple(slice(low, n + low) for (low, _), n in zip(edges, target.part.crop.shape, strict=True))
    ]
