"""TN3K: JPEG masks, names that begin again in each split, several nodules in an image, another set beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (80, 112)
NODULES = {"trainval": (1, 2, 1), "test": (1, 3)}  # number in each image
EXPECTED = Expected(samples=5, concepts={"thyroid_nodule": 8})


def write(root: Path, rng: np.random.Generator) -> None:
    """Three images for training and two for testing; a fold table; one image of TG3K."""
    folder = root / "Thyroid Dataset/tn3k"
    for split, counts in NODULES.items():
        for number, count in enumerate(counts):
            nodules = [draw.ellipse(SIZE, (40, 20 + 34 * k), (10, 9)) for k in range(count)]
            image = draw.picture(rng, SIZE, nodules, [40], background=110, noise=12)
            mask = draw.white(np.logical_or.reduce(nodules))
            draw.save(folder / f"{split}-image/{number:04d}.jpg", image, quality=90)
            draw.save(folder / f"{split}-mask/{number:04d}.jpg", mask, quality=75)
    draw.text(folder / "tn3k-trainval-fold0.json", json.dumps({"train": [1, 2], "val": [0]}))
    draw.save(root / "Thyroid Dataset/tg3k/thyroid-image/0000.jpg", image)
