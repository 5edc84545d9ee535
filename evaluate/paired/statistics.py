"""What changes between the images of a pair: differences over patients, and how sure one may be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from medshards.evaluate.bootstrap import interval_of
from medshards.evaluate.paired.measure import Score

FUNCTIONAL = "PT"
NAMES = {"CT": "CT", "MR": "MR", "PT": "PET"}
ALL = "all organs"


@dataclass(frozen=True)
class Difference:
    """PET minus the structural image, for one organ (or the macro mean of all).

    n: patients with both. structural, functional: means over these patients. interval: 95 %, by bootstrap over
    patients. p: Wilcoxon signed-rank test, two-sided; corrected: by Holm over the organs of one pair of modalities.
    None with fewer than two patients, or for the mean of all organs.
    """

    concept: str
    against: str
    figure: str
    n: int
    structural: float
    functional: float
    difference: float
    interval: tuple[float, float] | None
    p: float | None
    corrected: float | None


@dataclass(frozen=True)
class Agreement:
    """Bland and Altman: predicted minus true volume of an organ in one modality, ml. low, high: limits of agreement,
    bias ± 1.96 SD."""

    concept: str
    modality: str
    n: int
    bias: float
    low: float
    high: float


def differences(scores: Sequence[Score], figure: str = "dice", draws: int = 1000) -> list[Difference]:
    """One for each organ and structural modality, then one for all organs. figure: dice or nsd.

    Several studies of a patient are averaged first. Failures count with the score that they have.
    """
    made = []
    for against in sorted({s.modality for s in scores} - {FUNCTIONAL}):
        pairs = _pairs(scores, against, figure)
        own = [_difference(concept, against, figure, p, draws) for concept, p in pairs.items()]
        corrected = holm([d.p for d in own])
        made += [
            Difference(**{**d.__dict__, "corrected": value}) for d, value in zip(own, corrected, strict=True)
        ]
        if pairs:
            made.append(_macro(pairs, against, figure, draws))
    return made


def _pairs(scores: Iterable[Score], against: str, figure: str) -> dict[str, dict[str, tuple[float, float]]]:
    """concept → patient → (structural, functional), means over the studies that have both."""
    studies: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for score in scores:
        studies[score.concept, score.patient, score.study][score.modality] = getattr(score, figure)
    gathered: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for (concept, patient, _), own in sorted(studies.items()):
        if against in own and FUNCTIONAL in own:
            gathered[concept][patient].append((own[against], own[FUNCTIONAL]))
    return {
        concept: {
            p: (float(np.mean([a for a, _ in v])), float(np.mean([b for _, b in v]))) for p, v in own.items()
        }
        for concept, own in gathered.items()
    }


def _difference(
    concept: str, against: str, figure: str, pairs: Mapping[str, tuple[float, float]], draws: int
) -> Difference:
    values = {patient: b - a for patient, (a, b) in pairs.items()}
    interval = interval_of(list(values), lambda drawn: float(np.mean([values[p] for p in drawn])), draws)
    return Difference(
        concept,
        against,
        figure,
        len(pairs),
        float(np.mean([a for a, _ in pairs.values()])),
        float(np.mean([b for _, b in pairs.values()])),
        float(np.mean(list(values.values()))),
        interval,
        signed_rank(list(values.values())),
        None,
    )


def _macro(
    pairs: Mapping[str, Mapping[str, tuple[float, float]]], against: str, figure: str, draws: int
) -> Difference:
    """The mean over organs of their means over patients."""

    def mean(drawn: Sequence[str]) -> float | None:
        organs = [[own[p][1] - own[p][0] for p in drawn if p in own] for own in pairs.values()]
        return float(np.mean([np.mean(v) for v in organs if v])) if any(organs) else None

    patients = sorted({p for own in pairs.values() for p in own})
    sides = [np.mean([np.mean([pair[k] for pair in own.values()]) for own in pairs.values()]) for k in (0, 1)]
    return Difference(
        ALL,
        against,
        figure,
        len(patients),
        float(sides[0]),
        float(sides[1]),
        float(sides[1] - sides[0]),
        interval_of(patients, mean, draws),
        None,
        None,
    )


def signed_rank(values: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test; 1 when nothing differs, None with fewer than two patients."""
    if len(values) < 2:
        return None
    if not np.any(values):
        return 1.0
    return float(wilcoxon(values).pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number (Holm, Scand J Statist 6, 1979), in the same order; None stays."""
    order = sorted((p, k) for k, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (p, k) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - rank)))
        corrected[k] = least
    return corrected


def agreements(scores: Sequence[Score]) -> list[Agreement]:
    """By organ and modality."""
    gathered: dict[tuple[str, str], list[float]] = defaultdict(list)
    for score in scores:
        gathered[score.concept, score.modality].append(score.predicted_ml - score.truth_ml)
    made = []
    for (concept, modality), values in sorted(gathered.items()):
        bias, spread = (
            float(np.mean(values)),
            1.96 * float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        )
        made.append(Agreement(concept, modality, len(values), bias, bias - spread, bias + spread))
    return made


def failures(scores: Iterable[Score]) -> dict[str, dict[str, int]]:
    """By modality: organs asked for, empty predictions, predictions in another organ."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for score in scores:
        counts[score.modality].update({"organs": 1, score.state: 1})
    names = ("organs", "empty", "wrong organ")
    return {modality: {name: own[name] for name in names} for modality, own in sorted(counts.items())}
