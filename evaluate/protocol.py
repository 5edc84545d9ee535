"""From the outputs of a model to one mask a class: the evaluation protocol of Medical SAM3.

The model is asked for each class by its text alone. "The paper" is Medical SAM3 (Jiang et al., arXiv 2601.10880,
2026); it takes, per class, the single mask with the highest score, and where several classes claim a pixel,
the one with the highest confidence. Many images hold several objects of a class, which one mask cannot cover,
so there are three ways to make a class's mask; every figure says which was used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from medshards.train.model.outputs import Outputs
from medshards.train.model.postprocess import THRESHOLD, scores, upsample

Aggregate = Literal["top1", "union", "semantic"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
MIN_SCORE = 0.1  # top1: of the authors' released evaluation script; the paper names none
UNION_SCORE = 0.5
CHUNK = 4  # masks that are upsampled at once


@dataclass(frozen=True)
class Rule:
    """How the mask of a class is made from the answers to its prompt.

    top1: the mask of the query with the highest score; empty when that score is below `min_score`.
    union: the masks of all queries with a score of `min_score` or more.
    semantic: the pixels where semantic probability times presence exceeds 0.5; `min_score` has no part in it.
    A score is the query's probability times the probability that the concept is present.
    """

    aggregate: Aggregate
    min_score: float | None = None

    def __post_init__(self) -> None:
        if (self.aggregate == "semantic") != (self.min_score is None):
            raise ValueError("top1 and union need a min_score, semantic has none")

    def __str__(self) -> str:
        return self.aggregate if self.min_score is None else f"{self.aggregate}, score >= {self.min_score:g}"


@dataclass(frozen=True)
class Answer:
    """What the model says of one class in one image.

    claimed: bool H×W, the pixels it takes for the class.
    confidence: float32 H×W, score times mask probability; 0 outside `claimed`.
    """

    claimed: NDArray[np.bool_]
    confidence: NDArray[np.float32]


@torch.no_grad()
def answer(outputs: Outputs, prompt: int, size: tuple[int, int], rule: Rule) -> Answer:
    """The answer to one prompt of the batch under a rule, at the image's `size` (height, width).

    Mask logits are upsampled bilinearly before the sigmoid; a pixel is inside above 0.5.
    """
    if rule.aggregate == "semantic":
        if outputs.semantic is None:
            raise ValueError("these outputs have no semantic map")
        presence = outputs.presence[-1, prompt].float().sigmoid()
        weighted = upsample(outputs.semantic[prompt : prompt + 1], size)[0] * presence
        inside = weighted > THRESHOLD
        return _answer(inside, torch.where(inside, weighted, 0.0))
    if outputs.masks is None:
        raise ValueError("these outputs have no masks")
    score = scores(outputs)[prompt]
    assert rule.min_score is not None
    chosen = (
        score.argmax()[None] if rule.aggregate == "top1" else torch.arange(len(score), device=score.device)
    )
    chosen = chosen[score[chosen] >= rule.min_score]
    claimed = torch.zeros(size, dtype=torch.bool, device=score.device)
    confidence = torch.zeros(size, device=score.device)
    for part in chosen.split(CHUNK) if len(chosen) else ():
        probability = upsample(outputs.masks[prompt, part], size)
        inside = probability > THRESHOLD
        claimed |= inside.any(0)
        weighted = torch.where(inside, probability * score[part, None, None], 0.0)
        confidence = torch.maximum(confidence, weighted.amax(0))
    return _answer(claimed, confidence)


def _answer(claimed: torch.Tensor, confidence: torch.Tensor) -> Answer:
    return Answer(claimed.cpu().numpy(), confidence.cpu().numpy().astype(np.float32))


def resolve(
    answers: Mapping[str, Answer], broader: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.bool_]]:
    """The mask (bool H×W) of each class after every contested pixel went to its most confident claimant.

    On equal confidence the first class in order of id has the pixel. A class and one of its `broader` ones (concept
    id to ids) do not compete: an optic cup lies inside the optic disc and takes nothing from it.
    """
    names = sorted(answers)
    masks = {}
    for place, name in enumerate(names):
        own = answers[name]
        mask = own.claimed.copy()
        for other_place, other in enumerate(names):
            if other == name or other in broader.get(name, ()) or name in broader.get(other, ()):
                continue
            rival = answers[other]
            stronger = np.greater_equal if other_place < place else np.greater
            mask &= ~(rival.claimed & stronger(rival.confidence, own.confidence))
        masks[name] = mask
    return masks
