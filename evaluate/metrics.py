"""How well two masks agree: overlap, and distance of their borders. For images (H×W) and volumes (D×H×W).

Empty masks follow one rule (`Emptiness`), and are counted apart, because other tools answer 0, 1, infinity or crash:

================  ====  ===  ====  ===
                  Dice  IoU  HD95  NSD
================  ====  ===  ====  ===
both empty        1     1    0     1
one of the two    0     0    none  0
================  ====  ===  ====  ===
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medshards.common.overlap import inside
from medshards.evaluate.surface import Points, border, surface

Convention = Literal["border", "surface"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
Emptiness = Literal["none", "both", "truth", "prediction"]


def emptiness(prediction: NDArray[Any], truth: NDArray[Any]) -> Emptiness:
    """Which of two masks is empty."""
    if prediction.any():
        return "none" if truth.any() else "truth"
    return "prediction" if truth.any() else "both"


@dataclass(frozen=True)
class Distances:
    """Distances from each mask's border to the other's, with the weight of every border element.

    ahead: from the prediction to the truth, back: from the truth to the prediction; float64, in the unit of `spacing`.
    Sorted, the smallest first. Where a mask is empty, its array is.
    """

    ahead: NDArray[np.float64]
    back: NDArray[np.float64]
    ahead_weight: NDArray[np.float64]
    back_weight: NDArray[np.float64]
    convention: Convention

    def hausdorff(self, percentile: float = 95) -> float | None:
        """The larger of both directions' percentile of the distance; None where just one mask is empty.

        border: numpy's linear percentile, as MONAI has it. surface: the smallest distance within which at least
        that share of the surface lies (Nikolov et al. 2021, doi:10.2196/26151).
        """
        if not len(self.ahead) and not len(self.back):
            return 0.0
        if not len(self.ahead) or not len(self.back):
            return None
        if self.convention == "border":
            return float(max(np.percentile(self.ahead, percentile), np.percentile(self.back, percentile)))
        return max(
            _weighted(self.ahead, self.ahead_weight, percentile),
            _weighted(self.back, self.back_weight, percentile),
        )

    def surface_dice(self, tolerance: float) -> float:
        """Normalised surface Dice: the share of both borders that lies within `tolerance` of the other."""
        total = self.ahead_weight.sum() + self.back_weight.sum()
        if total == 0:
            return 1.0
        if not len(self.ahead) or not len(self.back):
            return 0.0
        near = (
            self.ahead_weight[self.ahead <= tolerance].sum() + self.back_weight[self.back <= tolerance].sum()
        )
        return float(near / total)


def distances(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    spacing: Sequence[float] | None = None,
    convention: Convention = "border",
) -> Distances:
    """Border distances of two masks of one shape, H×W or D×H×W (non-zero = inside).

    spacing: size of a pixel along each axis, e.g. in mm; None: in pixels. convention: what is measured from and to,
    see evaluate/surface.py; the two give different figures, so say which one was used. Raises ValueError when the
    shapes differ.
    """
    a, b = inside(prediction, truth)
    size = np.ones(a.ndim) if spacing is None else np.asarray(spacing, float)
    if size.shape != (a.ndim,) or not (size > 0).all():
        raise ValueError(f"spacing must be {a.ndim} positive numbers, found {spacing}")
    take = border if convention == "border" else surface
    first, second = take(a, size), take(b, size)
    ahead, ahead_weight = _nearest(first, second)
    back, back_weight = _nearest(second, first)
    return Distances(ahead, back, ahead_weight, back_weight, convention)


def _nearest(from_: Points, to: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The distance of every point of the one to the nearest of the other, sorted, and the weights in that order.

    A search tree over border points costs less than a distance transform of the volume around them by an order of
    magnitude, and is exact.
    """
    if not len(from_.places) or not len(to.places):
        return np.zeros(len(from_.places)), from_.weights
    found, _ = cKDTree(to.places, balanced_tree=False, compact_nodes=False).query(from_.places)
    order = np.argsort(found, kind="stable")
    return found[order], from_.weights[order]


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64], percentile: float) -> float:
    share = np.cumsum(weights) / weights.sum()
    return float(values[min(int(np.searchsorted(share, percentile / 100)), len(values) - 1)])
