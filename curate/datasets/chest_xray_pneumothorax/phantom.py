"""Pneumothorax PNGs from Kaggle: numbers that begin again in each split, empty masks, masks of three channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (96, 96)
LESIONS = {"train": (0, 0, 1, 2), "test": (1, 0, 2)}  # pneumothorax regions of each image
EXPECTED = Expected(samples=7, concepts={"pneumothorax": 6})


def write(root: Path, rng: np.random.Generator) -> None:
    """Four training and three test images with the two tables of their names."""
    folder = root / "siim-acr-pneumothorax"
    for split, counts in LESIONS.items():
        rows = ["new_filename,ImageId,has_pneumo"]
        for number, count in enumerate(counts):
            lungs = [draw.ellipse(SIZE, (48, x), (32, 16)) for x in (27, 69)]
            lesions = [draw.ellipse(SIZE, (26, x), (7, 4)) for x in (27, 69)][:count]
            mask = np.zeros(SIZE, bool)
            for lesion in lesions:
                mask |= lesion
            name = f"{number}_{split}_{int(count > 0)}_.png"
            draw.save(
                folder / f"png_images/{name}", draw.picture(rng, SIZE, [*lungs, *lesions], [60, 60, 20], 150)
            )
            white = draw.white(mask)
            draw.save(folder / f"png_masks/{name}", np.dstack([white] * 3) if number % 2 else white)
            rows.append(f"{name},1.2.276.0.{number},{int(count > 0)}")
        draw.text(folder / f"stage_1_{split}_images.csv", "\n".join(rows) + "\n")
