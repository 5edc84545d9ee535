"""Made-up pictures: soft structure of random grey values, as fingerprints or in full size."""

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.shards.encode.fingerprint import SIDE


def pixels(seed: int, side: int = 256) -> NDArray[np.uint8]:
    """A picture (side × side, grey) of 12 × 12 random grey values, smoothed."""
    grid = np.random.default_rng(seed).integers(0, 256, (12, 12)).astype(np.uint8)
    return np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def picture(seed: int, noise: int = 0) -> bytes:
    """Such a picture as a fingerprint, with noise of up to so many grey values."""
    small = pixels(seed, SIDE).astype(int)
    small += np.random.default_rng(seed + 1_000_000).integers(-noise, noise + 1, small.shape)
    return np.clip(small, 0, 255).astype(np.uint8).tobytes()
