"""Chest Xray Masks and Labels from Kaggle: the tree twice, two ways to name masks, images without mask, specks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

EXPECTED = Expected(samples=5, concepts={"lung": 10}, skipped=7)


def write(root: Path, rng: np.random.Generator) -> None:
    """Two Montgomery images (portrait and landscape), three Shenzhen images, a fourth without mask; all of it twice."""
    sizes = {"MCUCXR_0001_0": (100, 82), "MCUCXR_0104_1": (82, 100)}
    sizes |= {f"CHNCXR_{n:04d}_{n % 2}": (90, 90) for n in range(1, 5)}
    for stem, size in sizes.items():
        height, width = size
        lungs = [
            draw.ellipse(size, (height / 2, width * x), (height * 0.33, width * 0.16)) for x in (0.27, 0.73)
        ]
        image = draw.picture(rng, size, lungs, [60], background=150, noise=2)
        mask = draw.white(lungs[0] | lungs[1])
        mask[1:3, 1:4] = 255  # a speck
        if stem.startswith("CHN"):
            image = np.repeat(image[:, :, None], 3, axis=2)
        for top in ("Lung Segmentation", "data/Lung Segmentation"):
            folder = root / top
            draw.save(folder / f"CXR_png/{stem}.png", image)
            draw.text(folder / f"ClinicalReadings/{stem}.txt", "Patient's Sex: F\n")
            if stem == "CHNCXR_0004_0":
                draw.save(folder / f"test/{stem}.png", image)
            else:
                suffix = "_mask" if stem.startswith("CHN") else ""
                draw.save(folder / f"masks/{stem}{suffix}.png", mask)
