"""HC18: outlines of heads (one leaves the image), a second image of a head, the table, a test set of the same names."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.curate.phantoms import Expected, draw

SIZE = (108, 160)
HEADS = {  # name: center (row, column), half axes (row, column) in px
    "000_HC": ((60, 80), (30, 40)),
    "010_HC": ((50, 70), (34, 44)),
    "010_2HC": ((52, 76), (36, 45)),
    "186_HC": ((70, 80), (45, 55)),  # leaves the image at the bottom: the curve is open there
}
EXPECTED = Expected(samples=4, concepts={"fetal_head": 4}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Four training images of three examinations; one test image."""
    rows = ["filename,pixel size(mm),head circumference (mm)"]
    for number, (name, (center, axes)) in enumerate(HEADS.items(), start=1):
        head = draw.ellipse(SIZE, center, axes)
        draw.save(root / f"training_set/{name}.png", draw.picture(rng, SIZE, [head], [140], 30))
        draw.save(root / f"training_set/{name}_Annotation.png", _outline(center, axes))
        rows.append(f"{name}.png,{0.1 * number:.1f},{50.5 + number}")
    draw.text(root / "training_set_pixel_size_and_HC.csv", "\n".join(rows) + "\n")
    draw.save(root / "test_set/000_HC.png", draw.picture(rng, SIZE, background=30))
    draw.text(root / "test_set_pixel_size.csv", "filename,pixel size(mm)\n000_HC.png,0.1\n")


def _outline(center: tuple[int, int], axes: tuple[int, int]) -> NDArray[np.uint8]:
    canvas = np.zeros(SIZE, np.uint8)
    cv2.ellipse(canvas, (center[1], center[0]), (axes[1], axes[0]), 0, 0, 360, 255, 2)
    return canvas
