"""COVID-QU-Ex from Kaggle: doubled folders, names with blanks and brackets, both trees, the second a subset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (64, 64)
NAMES = {"COVID-19": "covid_{}.png", "Non-COVID": "non_COVID ({}).png", "Normal": "Normal ({}).png"}
EXPECTED = Expected(samples=9, concepts={"lung": 18}, skipped=3)


def write(root: Path, rng: np.random.Generator) -> None:
    """Three classes in three splits, one image each with two lungs; the images of Test in the infection tree again."""
    for split in ("Train", "Val", "Test"):
        for number, (group, name) in enumerate(NAMES.items(), start=1):
            lungs = [draw.ellipse(SIZE, (32, column), (22, 11)) for column in (17, 46)]
            spot = draw.ellipse(SIZE, (40, 46), (5, 4)) if group == "COVID-19" else np.zeros(SIZE, bool)
            image = draw.picture(rng, SIZE, [*lungs, spot], [40, 40, 130], background=150)
            files = {"images": image, "lung masks": draw.white(lungs[0] | lungs[1])}
            trees = {"Lung": files}
            if split == "Test":
                trees["Infection"] = {**files, "infection masks": draw.white(spot)}
            for tree, folders in trees.items():
                top = root / f"{tree} Segmentation Data" / f"{tree} Segmentation Data" / split / group
                for folder, pixels in folders.items():
                    draw.save(top / folder / name.format(number), pixels)
