"""The perfect prompt of each kind, and a mask that says nothing: severity 0."""

from __future__ import annotations

import numpy as np

from medshards.evaluate.prompts.draws import Draws
from medshards.evaluate.prompts.families.boxes import Box
from medshards.evaluate.prompts.families.points import Points
from medshards.evaluate.prompts.families.texts import Text, canonical
from medshards.evaluate.prompts.severity import Steps
from medshards.evaluate.prompts.target import Part, Target


def mask(target: Target, draws: Draws) -> Steps[Part]:
    """The mask itself."""
    return Steps([(target.mask, {})])


def empty(target: Target, draws: Draws) -> Steps[Part]:
    """A mask without a voxel: what a model knows of the target without a prompt."""
    axes = len(target.shape)
    return Steps([(Part(np.zeros((0,) * axes, bool), (0,) * axes), {})])


def box(target: Target, draws: Draws) -> Steps[Box]:
    """The tight box."""
    return Steps([(Box.around(target.mask), {})])


def point(target: Target, draws: Draws) -> Steps[Points]:
    """The deepest point."""
    at = tuple(k + s for k, s in zip(target.deepest, target.part.start, strict=True))
    return Steps([(Points((at,), (True,)), {})])


def text(target: Target, draws: Draws) -> Steps[Text]:
    """The canonical text."""
    return Steps([(Text(canonical(target), target.concept), {})])
