"""From answers to one mask a class: the evaluation protocol of Medical SAM3.

The model is asked for each class by its text alone. "The paper" is Medical SAM3 (Jiang et al., arXiv 2601.10880,
2026); it takes, per class, the single mask with the highest score, and where several classes claim a pixel,
the one with the highest confidence. Many images hold several objects of a class, which one mask cannot cover,
so there are three ways to make a class's mask (`train.model.answers.Rule`); every figure says which was used.
"""

from __future__ import annotations

from collections.abc import Sequence

from medshards.train.model.answers import MIN_SCORE, UNION_SCORE, Rule


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
