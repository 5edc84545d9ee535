"""Drawing for phantoms: shapes as bool masks, pictures in which these shapes can be seen, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def ellipse(
    size: tuple[int, int], center: tuple[float, float], axes: tuple[float, float], angle: float = 0
) -> Mask:
    """A filled ellipse: size (height, width), center and half axes as (row, column) in px, angle in degrees."""
    canvas = np.zeros(size, np.uint8)
    at = (round(center[1]), round(center[0]))
    cv2.ellipse(canvas, at, (round(axes[1]), round(axes[0])), angle, 0, 360, 1, -1)
    return canvas.astype(bool)


def blobs(
    rng: np.random.Generator, size: tuple[int, int], count: int, radius: tuple[float, float]
) -> list[Mask]:
    """`count` ellipses that touch neither each other nor the border; half axes between the two radii in px."""
    height, width = size
    taken = np.zeros(size, np.uint8)
    found: list[Mask] = []
    for _ in range(1000):
        if len(found) == count:
            return found
        axes = rng.uniform(*radius, 2)
        margin = max(axes) + 2
        if 2 * margin >= min(size):
            raise ValueError(f"blobs of radius {radius} do not fit into {size}")
        center = rng.uniform(margin, height - margin), rng.uniform(margin, width - margin)
        mask = ellipse(size, center, (axes[0], axes[1]), rng.uniform(0, 180))
        grown = np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)), np.uint8)
        if not (grown & taken).any():
            taken |= mask.astype(np.uint8)
            found.append(mask)
    raise ValueError(f"{count} blobs of radius {radius} do not fit into {size}")


def tree(rng: np.random.Generator, size: tuple[int, int], branches: int = 4, thickness: int = 3) -> Mask:
    """A connected vessel tree: curved branches that leave one point."""
    height, width = size
    canvas = np.zeros(size, np.uint8)
    start = np.array([width * 0.5, height * 0.5])
    for branch in range(branches):
        angle = 2 * np.pi * (branch + rng.uniform(0, 0.6)) / branches
        steps = np.linspace(0, 0.42, 12)
        bend = angle + rng.uniform(-1.5, 1.5) * steps
        points = start + np.stack([np.cos(bend) * steps * width, np.sin(bend) * steps * height], axis=1)
        cv2.polylines(canvas, [np.round(points).astype(np.int32)], False, 1, thickness)
    return canvas.astype(bool)


def picture(
    rng: np.random.Generator,
    size: tuple[int, int],
    masks: Sequence[Mask] = (),
    tones: Sequence[Any] = (),
    background: Any = 70,
    noise: float = 6,
) -> NDArray[np.uint8]:
    """A noisy picture in which each mask shows in its tone.

    Tones and background are grey values (uint8 H×W comes back) or RGB triples (H×W×3). Missing tones repeat the last.
    """
    base = np.asarray(background, float)
    image = np.broadcast_to(base, (*size, *base.shape)).copy()
    tones = list(tones) or [background]
    for number, mask in enumerate(masks):
        image[mask] = np.asarray(tones[min(number, len(tones) - 1)], float)
    image += rng.normal(0, noise, size)[..., None] if image.ndim == 3 else rng.normal(0, noise, size)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def save(path: Path, pixels: NDArray[Any], **options: Any) -> None:
    """Write a picture, the format by the name's suffix; bool arrays become 1-bit files. Makes the folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def text(path: Path, content: str) -> None:
    """Write a text file as it is (no newline translation). Makes the folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())


def white(mask: Mask) -> NDArray[np.uint8]:
    """A mask as 0 and 255."""
    return mask.astype(np.uint8) * 255
