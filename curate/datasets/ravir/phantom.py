"""RAVIR: artery 128 and vein 255 in one mask, a folder name with a space, specks, test images without masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (112, 112)
EXPECTED = Expected(samples=8, concepts={"retinal_artery": 7, "retinal_vein": 8}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Eight training images, one of them with veins alone; one test image."""
    for number in (11, 17, 19, 20, 21, 22, 23, 26):
        artery = draw.tree(rng, SIZE, thickness=2) if number != 26 else np.zeros(SIZE, bool)
        vein = draw.tree(rng, SIZE, thickness=4) & ~artery
        vein[3, 3] = True  # a speck
        values = artery * np.uint8(128) + vein * np.uint8(255)
        draw.save(root / f"RAVIR Dataset/train/training_masks/IR_Case_{number:03d}.png", values)
        image = draw.picture(rng, SIZE, [artery, vein], [70, 40], 130)
        draw.save(root / f"RAVIR Dataset/train/training_images/IR_Case_{number:03d}.png", image)
    draw.save(root / "RAVIR Dataset/test/IR_Case_006.png", draw.picture(rng, SIZE, background=130))
