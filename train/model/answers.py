"""From a model's outputs to its answer: which instances of a text it sees in an image, and the mask that follows.

Prediction, evaluation and validation during training all come through here, so they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medshards.curate.sample import Region
from medshards.train.model.outputs import Outputs
from medshards.train.model.postprocess import THRESHOLD, scores, upsample

Aggregate = Literal["top1", "union", "semantic"]
MIN_SCORE = 0.1  # top1: of the authors' released evaluation script; the paper names none
UNION_SCORE = 0.5
CHUNK = 4  # masks that are upsampled at once


@dataclass(frozen=True)
class Rule:
    """How the mask of a class is made from the answer to its prompt.

    top1: the instance with the highest score; empty when that score is below `min_score`.
    union: all instances with a score of `min_score` or more.
    semantic: the pixels where semantic probability times presence exceeds 0.5; `min_score` has no part in it.
    calibrated: (concept, min_score) of concepts that have one of their own; `of` gives the rule of a concept.
    """

    aggregate: Aggregate
    min_score: float | None = None
    calibrated: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if (self.aggregate == "semantic") != (self.min_score is None):
            raise ValueError("top1 and union need a min_score, semantic has none")
        if self.aggregate == "semantic" and self.calibrated:
            raise ValueError("semantic has no score to calibrate")

    def __str__(self) -> str:
        if self.calibrated:
            return f"{self.aggregate}, calibrated score"
        return self.aggregate if self.min_score is None else f"{self.aggregate}, score >= {self.min_score:g}"

    def of(self, concept: str | None) -> Rule:
        """The rule of one concept."""
        return Rule(self.aggregate, dict(self.calibrated).get(concept or "", self.min_score))

    @property
    def floor(self) -> float:
        """Instances with a lower score have no part in any mask, but for the best one of each text."""
        if self.aggregate != "union" or self.min_score is None:  # top1 takes the best alone, semantic none
            return math.inf
        return min([self.min_score, *(score for _, score in self.calibrated)])

    def facts(self) -> dict[str, Any]:
        """As JSON values; `Rule.from_facts` reads them."""
        own = {"calibrated": dict(self.calibrated)} if self.calibrated else {}
        return {"aggregate": self.aggregate, "min_score": self.min_score, **own}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Rule:
        """From what `facts` gave, other entries aside. Raises KeyError, ValueError."""
        own = facts.get("calibrated", {})
        return cls(facts["aggregate"], facts["min_score"], tuple(sorted(own.items())))


@dataclass(frozen=True, eq=False)
class Found:
    """One instance. score: its probability times that of the concept being present, in [0, 1]. region: its pixels,
    where the mask's probability exceeds 0.5. probability: float32, of the region's box."""

    score: float
    region: Region
    probability: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Claim:
    """The mask of a class under a rule.

    claimed: bool H×W. confidence: float32 H×W, score times mask probability; 0 outside `claimed`.
    """

    claimed: NDArray[np.bool_]
    confidence: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answer:
    """What is seen of one text in one image of `size` (height, width).

    presence: probability that the concept occurs at all. instances: the highest score first; the best one always,
    others from the `floor` that was asked for. semantic: float32 H×W, probability times presence; None unless asked.
    """

    size: tuple[int, int]
    presence: float
    instances: tuple[Found, ...]
    semantic: NDArray[np.float32] | None = None

    @property
    def score(self) -> float:
        """The highest score; 0 without an instance."""
        return self.instances[0].score if self.instances else 0.0

    def chosen(self, rule: Rule) -> tuple[Found, ...]:
        """The instances that the rule takes, those without a pixel too; none under `semantic`."""
        if rule.min_score is None:
            return ()
        candidates = self.instances[:1] if rule.aggregate == "top1" else self.instances
        return tuple(found for found in candidates if found.score >= rule.min_score)

    def claim(self, rule: Rule) -> Claim:
        """The mask of the class under a rule. Raises ValueError for a semantic map that was not asked for."""
        if rule.aggregate == "semantic":
            if self.semantic is None:
                raise ValueError("this answer has no semantic map")
            inside = self.semantic > THRESHOLD
            return Claim(inside, np.where(inside, self.semantic, np.float32(0)))
        claim = Claim(np.zeros(self.size, bool), np.zeros(self.size, np.float32))
        for found in self.chosen(rule):
            window = found.region.window()
            claim.claimed[window] |= found.region.crop
            weighted = np.where(found.region.crop, found.probability * np.float32(found.score), np.float32(0))
            np.maximum(claim.confidence[window], weighted, out=claim.confidence[window])
        return claim


@torch.no_grad()
def answer(
    outputs: Outputs,
    prompt: int,
    size: tuple[int, int],
    floor: float = UNION_SCORE,
    semantic: bool = False,
) -> Answer:
    """The answer to one prompt of the batch at the image's `size` (height, width).

    Mask logits are upsampled bilinearly before the sigmoid; a pixel is inside above 0.5. Instances with a score below
    `floor` are left out, but for the best. Raises ValueError when the outputs have no masks.
    """
    if outputs.masks is None or (semantic and outputs.semantic is None):
        raise ValueError(
            "these outputs have no masks" if outputs.masks is None else "they have no semantic map"
        )
    score = scores(outputs)[prompt]
    presence = outputs.presence[-1, prompt].float().sigmoid()
    order = score.argsort(descending=True, stable=True)
    chosen = order[: max(1, int((score >= floor).sum()))]
    instances = []
    for part in chosen.split(CHUNK):
        probability = upsample(outputs.masks[prompt, part], size).cpu().numpy()
        for one, own in zip(probability, score[part].tolist(), strict=True):
            region = Region.of(one > THRESHOLD)
            instances.append(Found(own, region, one[region.window()].copy()))
    heat = None
    if semantic:
        assert outputs.semantic is not None
        heat = (upsample(outputs.semantic[prompt : prompt + 1], size)[0] * presence).cpu().numpy()
    return Answer(size, float(presence), tuple(instances), heat)
