"""ISIC 2018 Task 1: three splits, notes beside the images, masks of Task 2 in a folder of a similar name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

IDS = {"Training": (0, 3, 16072, 36064, 36333), "Validation": (12255,), "Test": (12169, 36347)}
EXPECTED = Expected(samples=8, concepts={"skin_lesion": 8})


def write(root: Path, rng: np.random.Generator) -> None:
    """Five training images, one of validation and two of test, of several sizes."""
    for split, ids in IDS.items():
        inputs = root / f"ISIC2018_Task1-2_{split}_Input"
        for number in ids:
            size = (72, 96 + number % 3 * 8)
            lesion = draw.ellipse(size, (36, 48), (rng.uniform(10, 30), rng.uniform(14, 40)), 20)
            image = draw.picture(rng, size, [lesion], [(110, 70, 50)], (220, 180, 160))
            name = f"ISIC_{number:07d}"
            draw.save(inputs / f"{name}.jpg", image, quality=90)
            draw.save(
                root / f"ISIC2018_Task1_{split}_GroundTruth/{name}_segmentation.png", draw.white(lesion)
            )
            attribute = root / f"ISIC2018_Task2_{split}_GroundTruth_v3/{name}_attribute_streaks.png"
            draw.save(attribute, draw.white(np.zeros(size, bool)))
        draw.text(inputs / "ATTRIBUTION.txt", "Attribution of the images.\n")
