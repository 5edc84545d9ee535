"""Text prompts answered by a `Segmenter` (our SAM3, a folder of predictions, a baseline), slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medshards.evaluate.prompts.answers.answerer import Outcome
from medshards.evaluate.prompts.answers.shown import grey
from medshards.evaluate.prompts.families.texts import Text
from medshards.evaluate.prompts.prompt import Prompt
from medshards.evaluate.prompts.target import Part, Scene
from medshards.evaluate.segmenter import Query, Segmenter
from medshards.train.model.answers import Rule


class TextAnswerer:
    """Asks every slice that shows a class of the scene for every text; the rule makes one mask of an answer."""

    kinds: tuple[str, ...] = ("text",)

    def __init__(self, segmenter: Segmenter, rule: Rule, name: str) -> None:
        self.segmenter, self.rule, self.name = segmenter, rule, name

    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """See `Answerer`."""
        texts = []
        for prompt in prompts:
            payload = prompt.payload()
            assert isinstance(payload, Text)
            texts.append(payload.text)
        unique = tuple(dict.fromkeys(texts))
        image = grey(scene)
        first = min(part.start[0] for part in scene.classes.values())
        last = max(part.stop[0] for part in scene.classes.values())
        shown = range(first, last) if image.ndim == 3 else range(1)
        masks = {text: np.zeros(scene.shape, bool) for text in unique}
        size = max(self.segmenter.batch, 1)
        for begin in range(shown.start, shown.stop, size):
            numbers = range(begin, min(begin + size, shown.stop))
            queries = [
                Query(f"{scene.dataset}/{scene.key}-{k:04d}", image[k] if image.ndim == 3 else image, unique)
                for k in numbers
            ]
            answers = self.segmenter.segment(queries, self.rule.floor, self.rule.aggregate == "semantic")
            for k, own in zip(numbers, answers, strict=True):
                for text, answer in zip(unique, own, strict=True):
                    plane = masks[text][k] if image.ndim == 3 else masks[text]
                    plane[...] = answer.claim(self.rule).claimed
        start = (0,) * len(scene.shape)
        return [Outcome.of(Part(masks[text], start).within(scene.shape)) for text in texts]
