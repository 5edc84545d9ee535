"""The fingerprint of a picture: itself, small and grey, so that whoever compares pictures need not decode them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32  # px of the small picture
LENGTH = SIDE * SIDE  # bytes of a fingerprint


def fingerprint(pixels: NDArray[Any]) -> bytes:
    """SIDE × SIDE grey values of a picture (H×W or H×W×3, uint8 or uint16), row by row, stretched to 0 … 255.

    Resizing, re-encoding and another brightness or contrast hardly change it. A picture of one tone is all 0.
    """
    grey = pixels if pixels.ndim == 2 else pixels[:, :, 1]
    step = max(1, min(grey.shape) // (8 * SIDE))
    small: NDArray[np.int64] = cv2.resize(
        np.ascontiguousarray(grey[::step, ::step]), (SIDE, SIDE), interpolation=cv2.INTER_AREA
    ).astype(np.int64)
    small -= small.min()
    stretched: NDArray[np.uint8] = (small * 255 // max(1, small.max())).astype(np.uint8)
    return stretched.tobytes()


def blank(print_: bytes) -> bool:
    """True for the fingerprint of a picture of one tone, which says nothing of where it comes from."""
    return not any(print_)
