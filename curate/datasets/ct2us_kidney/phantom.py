"""CT2USforKidneySeg in Kaggle's doubled folders: running numbers, masks of 0 and 255 or 1, two kidneys, none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (64, 64)
EXPECTED = Expected(samples=6, concepts={"kidney": 6})


def write(root: Path, rng: np.random.Generator) -> None:
    """Six pictures: one with two kidneys, one without, one whose mask holds 0 and 1."""
    for position, number in enumerate((0, 1, 99, 100, 101, 250)):
        kidneys = [draw.ellipse(SIZE, (32, column), (12, 8)) for column in (16, 46)][
            : (2, 0, 1, 1, 1, 1)[position]
        ]
        mask = np.logical_or.reduce([np.zeros(SIZE, bool), *kidneys])
        image = draw.picture(rng, SIZE, kidneys, [60], 110, noise=25)
        draw.save(root / f"slice/slice/{number}.png", image)
        draw.save(
            root / f"mask/mask/{number}.png", mask.astype(np.uint8) if number == 250 else draw.white(mask)
        )
