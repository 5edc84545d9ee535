"""CVC-ClinicDB: the official folders, one with a blank, plain numbers, masks with dark values outside the view."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (288, 384)
EXPECTED = Expected(samples=6, concepts={"polyp": 7})


def write(root: Path, rng: np.random.Generator) -> None:
    """Six frames of four sequences, the last one with two polyps; grey and RGB masks."""
    view = draw.ellipse(SIZE, (144, 170), (140, 165))
    for number in (1, 2, 25, 26, 200, 612):
        polyps = draw.blobs(rng, SIZE, 2 if number == 612 else 1, (20, 40))
        image = draw.picture(
            rng, SIZE, [view, *polyps], [(150, 60, 50), (190, 90, 80)], (11, 11, 11), noise=0
        )
        mask = draw.white(np.logical_or.reduce(polyps))
        mask[~view & (mask == 0)] = 11  # as in frames 1 to 5 and 8
        mask = mask if number % 2 else np.stack([mask] * 3, axis=2)
        folder = root / "CVC-ClinicDB"
        draw.save(folder / f"Original/{number}.tif", image, compression="tiff_lzw")
        draw.save(folder / f"Ground Truth/{number}.tif", mask, compression="tiff_lzw")
