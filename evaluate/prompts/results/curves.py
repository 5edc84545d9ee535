"""From the scores of answers to curves: how the answer falls as the prompt gets worse.

Severity is what was measured on the prompt (1 − Dice of masks, 1 − IoU of boxes), averaged over the patients of a
class at each nominal step; families without such a measure have the step itself. Severity 0 is the perfect prompt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medshards.evaluate.bootstrap import interval_of
from medshards.evaluate.prompts.results.score import Row

PERFECT = {"mask": "M0-perfect", "box": "B0-tight", "points": "P0-deepest", "text": "T0-canonical"}
EMPTY = "M0-empty"
QUANTILES = (0.9, 0.75, 0.5)


@dataclass(frozen=True)
class Curve:
    """severity, score: of each point, severity 0 first, rising. gain: score minus that of the prompt as its own answer
    (masks only). n: patients at each point."""

    severity: tuple[float, ...]
    score: tuple[float, ...]
    gain: tuple[float | None, ...]
    n: tuple[int, ...]

    @property
    def auc(self) -> float:
        """Area under the curve over the width of its severities (trapezoid); in the units of the score."""
        return area(self.severity, self.score)

    @property
    def relative(self) -> float | None:
        """The same over the score at severity 0; None where that is 0."""
        return self.auc / self.score[0] if self.score[0] > 0 else None

    def reach(self, part: float) -> float | None:
        """The least severity at which the score is below `part` of that at 0, linear between points; None: never."""
        return first_below(self.severity, self.score, part * self.score[0])

    @property
    def slope(self) -> float | None:
        """Change of the score per severity at 0, to the next point."""
        if len(self.severity) < 2:
            return None
        return (self.score[1] - self.score[0]) / (self.severity[1] - self.severity[0])


def area(severity: Sequence[float], score: Sequence[float]) -> float:
    """Σ (s_{k+1} − s_k)(f_k + f_{k+1}) / 2 / (s_K − s_0); the only score where there is one point."""
    s, f = np.asarray(severity, float), np.asarray(score, float)
    if len(s) < 2:
        return float(f[0])
    return float((np.diff(s) * (f[1:] + f[:-1]) / 2).sum() / (s[-1] - s[0]))


def first_below(severity: Sequence[float], score: Sequence[float], limit: float) -> float | None:
    """Where the line through the points first goes below a limit."""
    for k, value in enumerate(score):
        if value < limit:
            if k == 0:
                return severity[0]
            step = (score[k - 1] - limit) / (score[k - 1] - value)
            return severity[k - 1] + step * (severity[k] - severity[k - 1])
    return None


def curve(rows: Iterable[Row], kind: str, family: str, patients: Sequence[str] | None = None) -> Curve | None:
    """The curve of one family from the rows of one class; None where it has no point but the perfect prompt, or not
    even that. patients: with repetitions, of a bootstrap; None: each once."""
    points: dict[int, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.dice is not None and (row.family == family or row.family == PERFECT[kind]):
            points[0 if row.family == PERFECT[kind] else row.severity][row.patient].append(row)
    if 0 not in points or len(points) < 2:
        return None
    made = []
    for severity, own in sorted(points.items()):
        chosen = [p for p in (own if patients is None else patients) if p in own]
        if chosen:
            made.append(_point(severity, [own[p] for p in chosen]))
    if not made or made[0][0] != 0:
        return None
    rising = [made[0], *sorted((p for p in made[1:] if p[0] > 0), key=lambda point: point[0])]
    if len(rising) < 2:
        return None
    severities, scores, gains, counts = zip(*rising, strict=True)
    return Curve(severities, scores, gains, counts)


def _point(severity: int, patients: Sequence[Sequence[Row]]) -> tuple[float, float, float | None, int]:
    """Patients count alike, whatever the number of their pictures or replicates."""
    measured = [[r.measured for r in own if r.measured is not None] for own in patients]
    at = float(np.mean([np.mean(m) for m in measured])) if all(measured) else float(severity)
    score = float(np.mean([np.mean([r.dice for r in own if r.dice is not None]) for own in patients]))
    gains = [
        [r.dice - r.copied for r in own if r.dice is not None and r.copied is not None] for own in patients
    ]
    gain = float(np.mean([np.mean(g) for g in gains])) if all(gains) else None
    return 0.0 if severity == 0 else at, score, gain, len(patients)


@dataclass(frozen=True)
class Summary:
    """One family over all classes: macro means of the classes' figures. interval: of the AUC, over patients."""

    family: str
    kind: str
    classes: int
    patients: int
    perfect: float
    auc: float
    interval: tuple[float, float] | None
    relative: float | None
    reach: tuple[float | None, ...]
    slope: float | None
    worst: float
    gain: float | None
    stable: float | None
    curves: Mapping[str, Curve]


def summarise(rows: Sequence[Row], family: str, draws: int = 1000) -> Summary | None:
    """The figures of a family; None where no class has a curve. Reach of a quantile: mean over the classes that get
    there, None where fewer than half do. worst: the lowest score of any class at any severity."""
    own = [row for row in rows if row.family == family]
    if not own:
        return None
    kind = own[0].kind
    used = [row for row in rows if row.family in (family, PERFECT[kind])]
    classes = {c: [r for r in used if r.concept == c] for c in sorted({r.concept for r in own})}
    curves = {c: found for c, r in classes.items() if (found := curve(r, kind, family)) is not None}
    if not curves:
        return None
    patients = sorted({row.patient for row in own})

    def macro_auc(drawn: Sequence[str]) -> float | None:
        found = [made.auc for c in curves if (made := curve(classes[c], kind, family, drawn)) is not None]
        return float(np.mean(found)) if found else None

    reach = [[made.reach(q) for made in curves.values()] for q in QUANTILES]
    gains = [g for made in curves.values() for g in made.gain[1:] if g is not None]
    stable = [row.stable for row in own if row.stable is not None]
    relative = [made.relative for made in curves.values() if made.relative is not None]
    slopes = [made.slope for made in curves.values() if made.slope is not None]
    return Summary(
        family,
        kind,
        len(curves),
        len(patients),
        float(np.mean([made.score[0] for made in curves.values()])),
        float(np.mean([made.auc for made in curves.values()])),
        interval_of(patients, macro_auc, draws),
        _mean(relative),
        tuple(
            _mean([v for v in each if v is not None]) if 2 * _some(each) >= len(each) else None
            for each in reach
        ),
        _mean(slopes),
        min(value for made in curves.values() for value in made.score),
        _mean(gains),
        _mean(stable),
        curves,
    )


def prompt_lift(rows: Sequence[Row]) -> dict[str, float]:
    """Score with the perfect mask minus score with an empty one, by class: mean over patients with both. A refusal or
    failure counts as 0 there: without a prompt there is nothing."""
    found: dict[str, float] = {}
    for concept in sorted({row.concept for row in rows}):
        scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if row.concept == concept and row.family in (PERFECT["mask"], EMPTY):
                scores[row.patient][row.family].append(row.dice if row.dice is not None else 0.0)
        pairs = [
            np.mean(own[PERFECT["mask"]]) - np.mean(own[EMPTY]) for own in scores.values() if len(own) == 2
        ]
        if pairs:
            found[concept] = float(np.mean(pairs))
    return found


def corruption_error(summaries: Iterable[Summary], reference: Iterable[Summary]) -> float | None:
    """mCE: mean over families of Σ (1 − f) / Σ (1 − f_ref), over the severities and classes that both have."""
    other = {s.family: s for s in reference}
    ratios = []
    for summary in summaries:
        if summary.family not in other:
            continue
        ours, theirs = 0.0, 0.0
        for concept, made in summary.curves.items():
            if (against := other[summary.family].curves.get(concept)) is not None:
                count = min(len(made.score), len(against.score))
                ours += sum(1 - f for f in made.score[1:count])
                theirs += sum(1 - f for f in against.score[1:count])
        if theirs > 0:
            ratios.append(ours / theirs)
    return _mean(ratios)


def rates(rows: Sequence[Row], families: Collection[str] = ()) -> dict[str, dict[str, int]]:
    """By family: prompts, unreachable steps, empty prompts, failures, refusals, empty answers, and of the prompts that
    should be answered with nothing those that were (refused or empty)."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        if families and row.family not in families:
            continue
        own = found.setdefault(
            row.family,
            dict.fromkeys(
                (
                    "prompts",
                    "unreachable",
                    "empty prompts",
                    "failed",
                    "refused",
                    "empty",
                    "to refuse",
                    "rightly",
                ),
                0,
            ),
        )
        own["prompts"] += 1
        own["unreachable"] += row.state == "unreachable"
        own["empty prompts"] += row.empty_prompt
        own["failed"] += row.state == "failed"
        own["refused"] += row.state == "refused"
        own["empty"] += row.empty
        if row.expected in ("nothing", "refuse", "text") and row.dice is None and row.state != "unreachable":
            own["to refuse"] += 1
            own["rightly"] += row.state == "refused" or row.empty
    return found


def _some(values: Sequence[float | None]) -> int:
    return sum(v is not None for v in values)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
