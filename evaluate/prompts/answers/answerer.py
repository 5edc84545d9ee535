"""What answers prompts, and the two answers that every other one is measured against.

An `Answerer` is given a scene and prompts of one target, and returns an `Outcome` for each. "Copy the prompt" returns
the prompt as it is: a model below it makes prompts worse. "Ignore the prompt" returns the same whatever is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from medshards.evaluate.prompts.prompt import Prompt
from medshards.evaluate.prompts.target import Part, Scene

State = Literal["answered", "refused", "failed"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The answer to a prompt. mask: None unless it was answered. reason: of a refusal or failure, one line."""

    state: State
    mask: Part | None = None
    reason: str = ""

    @classmethod
    def of(cls, part: Part) -> Outcome:
        """An answer, which may be empty."""
        return cls("answered", part)


class Answerer(Protocol):
    """A model, a folder of predictions, or a baseline."""

    name: str
    kinds: tuple[str, ...]
    """The kinds of prompts that it takes; others are not asked."""

    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """An outcome for each prompt, in order; errors of one prompt are outcomes of state `failed`."""


class CopyPrompt:
    """Gives a mask prompt back as it is."""

    name = "copy the prompt"
    kinds: tuple[str, ...] = ("mask",)

    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """See `Answerer`."""
        parts = [prompt.payload() for prompt in prompts]
        return [Outcome.of(part) for part in parts if isinstance(part, Part)]


class IgnorePrompt:
    """Gives the same for every prompt of a scene: the middle half of the frame along each axis."""

    name = "ignore the prompt"
    kinds: tuple[str, ...] = ("mask", "box", "points", "text")

    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """See `Answerer`."""
        middle = Part(
            np.ones([max(n // 2, 1) for n in scene.shape], bool), tuple(n // 4 for n in scene.shape)
        )
        return [Outcome.of(middle) for _ in prompts]
