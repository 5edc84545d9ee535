"""The one thing that answers: an image and texts in, scored instances and a semantic map out.

    segmenter = open_segmenter("RUN")                     # or a checkpoint, a Hugging Face folder, a .pt file …
    [answers] = segmenter.segment([Query("name", image, ("polyp", "fold"))])
    answers[0].instances, answers[0].claim(Rule("top1", 0.1)).claimed

Prediction, evaluation, the listening report and prompt studies ask nothing else, so whatever answers can be compared:
a model, a folder of predictions made elsewhere (evaluate/predictions.py), or one of the baselines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from medshards.curate.sample import Region
from medshards.train.data.resizing import resize_image
from medshards.train.data.tokenizer import tokenize
from medshards.train.model.answers import UNION_SCORE, Answer, Found, answer
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.outputs import Outputs
from medshards.train.model.postprocess import normalise

PROMPTS = 16  # asked in one pass; the masks of 200 queries at 288 × 288 px are 66 MB for each


@dataclass(frozen=True, eq=False)
class Query:
    """An image (uint8 H×W or H×W×3) and the texts to ask it for. name: slug/key of a corpus's sample, or a file's."""

    name: str
    image: NDArray[np.uint8]
    texts: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.image.shape[0], self.image.shape[1]


class Segmenter(Protocol):
    """Whatever answers texts about images."""

    batch: int
    """Images to hand over at once; the same answers whatever their number, up to rounding."""

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""

    def segment(
        self, queries: Sequence[Query], floor: float = UNION_SCORE, semantic: bool = False
    ) -> list[list[Answer]]:
        """For each query an answer to each of its texts, at the image's own size.

        floor: instances with a lower score are left out, but for the best one. semantic: also give the semantic map.
        """


class ModelSegmenter:
    """A SAM3 model. precision: `fp32`, or `bf16` for the forward pass."""

    def __init__(
        self, model: Sam3Graph, facts: dict[str, Any] | None = None, batch: int = 1, precision: str = "fp32"
    ) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.batch, self.precision = batch, precision
        self._facts = dict(facts or {})

    def facts(self) -> dict[str, Any]:
        """Where its weights come from, the network input and the precision."""
        side, device = self.model.image_size, self.device.type
        return {**self._facts, "network_input": f"{side} x {side} px, {self.precision} on {device}"}

    def segment(
        self, queries: Sequence[Query], floor: float = UNION_SCORE, semantic: bool = False
    ) -> list[list[Answer]]:
        """See `Segmenter`."""
        answers: list[list[Answer]] = [[] for _ in queries]
        for asked in self._passes(queries):
            outputs = self.outputs([(queries[image].image, texts) for image, texts in asked])
            prompt = 0
            for image, texts in asked:
                for _ in texts:
                    answers[image].append(answer(outputs, prompt, queries[image].size, floor, semantic))
                    prompt += 1
        return answers

    @torch.no_grad()
    def outputs(self, asked: Sequence[tuple[NDArray[np.uint8], Sequence[str]]]) -> Outputs:
        """One forward pass: every image with its texts; each image and each text is encoded once."""
        texts = list(dict.fromkeys(text for _, own in asked for text in own))
        images = torch.stack([resize_image(image, self.model.image_size) for image, _ in asked])
        ids, mask = (t.to(self.device) for t in tokenize(texts))
        img_id = torch.tensor([k for k, (_, own) in enumerate(asked) for _ in own], device=self.device)
        text_id = torch.tensor([texts.index(text) for _, own in asked for text in own], device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs: Outputs = self.model(normalise(images.to(self.device)), img_id, ids, mask, text_id)
        return outputs

    def _passes(self, queries: Sequence[Query]) -> Iterator[list[tuple[int, tuple[str, ...]]]]:
        """Images (by position) with texts for one pass each: at most `batch` images and `PROMPTS` prompts."""
        parts = [
            (place, query.texts[start : start + PROMPTS])
            for place, query in enumerate(queries)
            for start in range(0, len(query.texts), PROMPTS)
        ]
        asked: list[tuple[int, tuple[str, ...]]] = []
        for part in parts:
            if asked and (len(asked) == self.batch or sum(len(t) for _, t in (*asked, part)) > PROMPTS):
                yield asked
                asked = []
            asked.append(part)
        if asked:
            yield asked


@dataclass
class Baseline:
    """Answers every text with nothing (`empty`) or with the whole image (`everything`): what a figure is worth."""

    kind: str
    batch: int = 1

    def facts(self) -> dict[str, Any]:
        """Its name."""
        return {"baseline": self.kind}

    def segment(
        self, queries: Sequence[Query], floor: float = UNION_SCORE, semantic: bool = False
    ) -> list[list[Answer]]:
        """See `Segmenter`."""
        return [[self._answer(query.size, semantic)] * len(query.texts) for query in queries]

    def _answer(self, size: tuple[int, int], semantic: bool) -> Answer:
        inside = float(self.kind == "everything")
        heat = np.full(size, inside, np.float32)
        whole = Found(1.0, Region.of(heat > 0), heat)
        return Answer(size, inside, (whole,) if inside else (), heat if semantic else None)


BASELINES = ("empty", "everything")
