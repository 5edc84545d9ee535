"""From answers to one mask a class: the evaluation protocol of Medical SAM3.

The model is asked for each class by its text alone. "The paper" is Medical SAM3 (Jiang et al., arXiv 2601.10880,
2026); it takes, per class, the single mask with the highest score, and where several classes claim a pixel,
the one with the highest confidence. Many images hold several objects of a class, which one mask cannot cover,
so there are three ways to make a class's mask (`train.model.answers.Rule`); every figure says which was used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medshards.train.model.answers import MIN_SCORE, UNION_SCORE, Claim, Rule


def rules_of(
    aggregate: Sequence[str], min_score: Sequence[float] = (MIN_SCORE,), union_score: float = UNION_SCORE
) -> list[Rule]:
    """A rule for each way to make a mask, each once; `top1` one for each score."""
    rules = []
    for name in aggregate:
        if name == "top1":
            rules += [Rule("top1", score) for score in min_score]
        else:
            rules.append(Rule("union", union_score) if name == "union" else Rule("semantic"))
    return list(dict.fromkeys(rules))


def resolve(
    claims: Mapping[str, Claim], broader: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.bool_]]:
    """The mask (bool H×W) of each class after every contested pixel went to its most confident claimant.

    On equal confidence the first class in order of id has the pixel. A class and one of its `broader` ones (concept
    id to ids) do not compete: an optic cup lies inside the optic disc and takes nothing from it.
    """
    names = sorted(claims)
    masks = {}
    for place, name in enumerate(names):
        own = claims[name]
        mask = own.claimed.copy()
        for other_place, other in enumerate(names):
            if other == name or other in broader.get(name, ()) or name in broader.get(other, ()):
                continue
            rival = claims[other]
            stronger = np.greater_equal if other_place < place else np.greater
            mask &= ~(rival.claimed & stronger(rival.confidence, own.confidence))
        masks[name] = mask
    return masks
