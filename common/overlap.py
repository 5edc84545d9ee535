"""How far two masks agree, for training and evaluation alike. For images (H×W) and volumes (D×H×W)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Overlap(NamedTuple):
    """Dice coefficient and intersection over union of two masks, both in [0, 1]."""

    dice: float
    iou: float


def overlap(prediction: NDArray[Any], truth: NDArray[Any]) -> Overlap:
    """Agreement of two masks of one shape (non-zero = inside).

    Dice = 2|A∩B| / (|A|+|B|) and IoU = |A∩B| / |A∪B|; two empty masks agree fully (1). Raises ValueError when
    the shapes differ.
    """
    a, b = inside(prediction, truth)
    common = int(np.count_nonzero(a & b))
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    if total == 0:
        return Overlap(1.0, 1.0)
    return Overlap(2 * common / total, common / (total - common))


def inside(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks as booleans (non-zero = inside). Raises ValueError when their shapes differ."""
    if first.shape != second.shape:
        raise ValueError(f"the masks have different shapes: {first.shape} and {second.shape}")
    return first != 0, second != 0
