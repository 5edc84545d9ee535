"""How well two masks agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Overlap(NamedTuple):
    """Dice coefficient and intersection over union of two masks, both in [0, 1]."""

    dice: float
    iou: float


def overlap(prediction: NDArray, truth: NDArray) -> Overlap:
    """Agreement of two masks of one shape (H×W; non-zero = inside).

    Dice = 2|A∩B| / (|A|+|B|) and IoU = |A∩B| / |A∪B|; two empty masks agree fully (1). Raises ValueError when
    the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"the masks have different shapes: {prediction.shape} and {truth.shape}")
    a, b = prediction != 0, truth != 0
    common = int(np.count_nonzero(a & b))
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    if total == 0:
        return Overlap(1.0, 1.0)
    return Overlap(2 * common / total, common / (total - common))
