"""Ultrasound Nerve Segmentation: images and masks in one folder, empty masks, subjects 1 and 10, a test image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (42, 58)
EMPTY = ("1_5", "10_1")
NAMES = ("1_1", "1_2", "1_5", "10_1", "10_101", "2_7", "2_70", "47_120")
EXPECTED = Expected(samples=8, concepts={"brachial_plexus_nerve": 6}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Eight images of four subjects, two with an empty mask; one test image. No table: it only repeats the masks."""
    for name in NAMES:
        nerve = np.zeros(SIZE, bool) if name in EMPTY else draw.blobs(rng, SIZE, 1, (5, 9))[0]
        image = draw.picture(rng, SIZE, [nerve], [60], 120, noise=20)
        draw.save(root / f"train/{name}.tif", image, compression="tiff_lzw")
        draw.save(root / f"train/{name}_mask.tif", draw.white(nerve), compression="tiff_lzw")
    draw.save(root / "test/1.tif", draw.picture(rng, SIZE, background=120, noise=20), compression="tiff_lzw")
