"""Detection figures as SAM3 reports them: does it find the right instances, and does it know when there are none?

For every (image, prompt) pair the predicted instances with a score of at least 0.5 are matched one to one with the
true ones so that their total IoU is highest. At each of the IoU thresholds 0.50, 0.55 … 0.95 a match at or above it
is a true positive, whatever is left over a false positive or false negative.

pmF1    positive micro F1: true and false positives and negatives summed over the pairs with a true instance, F1 of the
        sums, mean over thresholds. Leftover predictions count where there are true and predicted instances
pMF1    positive macro F1: the F1 of each pair with true and predicted instances, mean over pairs and thresholds
IL_MCC  image level: Matthews correlation of "something is predicted" and "something is there"
IL_FPR  share of the pairs without a true instance for which something is predicted
cgF1    pmF1 times IL_MCC, "classification-gated F1"

(Carion et al. 2025, "SAM 3: segment anything with concepts"; its published evaluator adds 1e-4 to denominators and
multiplies cgF1 by 100, here neither.) A figure whose denominator is 0 is None, and so are MCC and cgF1 where nothing
absent, or nothing present, was asked for; an answer that is always the same has an MCC of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10).round(2)
SCORE = 0.5  # instances with less are no predictions


@dataclass(frozen=True)
class Matches:
    """One (image, prompt) pair: how many instances were predicted and are true, and the IoU of each match."""

    predicted: int
    true: int
    ious: tuple[float, ...] = ()

    @property
    def hits(self) -> NDArray[np.int64]:
        """True positives (10,) at each IoU threshold."""
        # tolerates the rounding of an IoU such as 0.6 = 3 / 5
        reached: NDArray[np.int64] = (np.array(self.ious)[:, None] >= IOU_THRESHOLDS - 1e-12).sum(axis=0)
        return reached


def match(predicted: Sequence[NDArray[np.bool_]], true: Sequence[NDArray[np.bool_]]) -> Matches:
    """Match instances (bool masks of one shape, in two or three dimensions) one to one by IoU."""
    return match_ious(ious_of(predicted, true))


def match_ious(ious: NDArray[np.float64]) -> Matches:
    """Match by a table of IoUs (predicted, true)."""
    rows, columns = linear_sum_assignment(-ious)
    return Matches(ious.shape[0], ious.shape[1], tuple(ious[rows, columns].tolist()))


def ious_of(predicted: Sequence[NDArray[np.bool_]], true: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """IoU of each predicted with each true mask, (predicted, true)."""
    found = np.zeros((len(predicted), len(true)))
    sizes = [int(np.count_nonzero(mask)) for mask in true]
    for row, mask in enumerate(predicted):
        window = _box(mask)
        size = int(np.count_nonzero(mask[window]))
        for column, other in enumerate(true):
            common = int(np.count_nonzero(mask[window] & other[window]))
            found[row, column] = common / max(size + sizes[column] - common, 1)
    return found


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(used[0], used[-1] + 1) if len(used) else slice(0, 0))
    return tuple(box)


@dataclass
class Detection:
    """Collects pairs and gives the figures."""

    pairs: list[Matches] = field(default_factory=list)

    @classmethod
    def of(cls, pairs: Iterable[Matches]) -> Detection:
        """Of pairs that are there already."""
        return cls(list(pairs))

    def add(self, pair: Matches) -> None:
        """Count one pair."""
        self.pairs.append(pair)

    def facts(self) -> dict[str, Any]:
        """The figures, each in [0, 1] (IL_MCC and cgF1 in [-1, 1]) or None, and the counts they are made of."""
        tp = sum(1 for p in self.pairs if p.true and p.predicted)
        fn = sum(1 for p in self.pairs if p.true and not p.predicted)
        fp = sum(1 for p in self.pairs if not p.true and p.predicted)
        tn = sum(1 for p in self.pairs if not p.true and not p.predicted)
        micro, macro = self._micro(), self._macro()
        root = float((tp + fp) * (tp + fn)) ** 0.5 * float((tn + fp) * (tn + fn)) ** 0.5
        mcc = None
        if tp + fn and tn + fp:
            mcc = (tp * tn - fp * fn) / root if root else 0.0
        return {
            "cgF1": None if micro is None or mcc is None else micro * mcc,
            "pmF1": micro,
            "pMF1": macro,
            "IL_MCC": mcc,
            "IL_FPR": fp / (fp + tn) if fp + tn else None,
            "image_level": {"tp": tp, "fp": fp, "tn": tn, "fn": fn},
        }

    def _micro(self) -> float | None:
        positive = [p for p in self.pairs if p.true]
        if not positive:
            return None
        hits = np.sum([p.hits for p in positive], axis=0)
        total = sum(p.true + p.predicted for p in positive)  # 2 TP + FP + FN
        return float((2 * hits / total).mean())

    def _macro(self) -> float | None:
        answered = [p for p in self.pairs if p.true and p.predicted]
        if not answered:
            return None
        return float(np.mean([(2 * p.hits / (p.true + p.predicted)).mean() for p in answered]))
