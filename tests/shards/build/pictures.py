"""Made-up pictures: soft structure of random grey values, as fingerprints or in full size, and changes of them."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.shards.encode.fingerprint import SIDE

Picture = NDArray[np.uint8]


def pixels(seed: int, side: int = 256) -> NDArray[np.uint8]:
    """A picture (side × side, grey) of 12 × 12 random grey values, smoothed."""
    grid = np.random.default_rng(seed).integers(0, 256, (12, 12)).astype(np.uint8)
    return np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def picture(seed: int, noise: int = 0) -> bytes:
    """Such a picture as a fingerprint, with noise of up to so many grey values."""
    small = pixels(seed, SIDE).astype(int)
    small += np.random.default_rng(seed + 1_000_000).integers(-noise, noise + 1, small.shape)
    return np.clip(small, 0, 255).astype(np.uint8).tobytes()


def _jpeg(image: Picture, quality: int) -> Picture:
    return np.asarray(
        cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE
        )
    )


def _resized(image: Picture) -> Picture:
    return np.asarray(cv2.resize(image, (200, 180), interpolation=cv2.INTER_AREA))


def _cropped(image: Picture) -> Picture:
    y, x = (round(0.02 * n) for n in image.shape)
    return image[y:, : image.shape[1] - x]


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "re-encoded": lambda image: _jpeg(image, 50),
    "resized": _resized,
    "2 % cropped": _cropped,
    "brighter": lambda image: np.clip(image * 1.2 + 15.0, 0, 255).astype(np.uint8),
    "resized, re-encoded and 2 % cropped": lambda image: _jpeg(_resized(_cropped(image)), 75),
}
