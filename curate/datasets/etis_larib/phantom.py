"""ETIS-LaribPolypDB: the official folders, plain numbers, masks with a "p" before the number, 1-bit, grey and RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (161, 204)
EXPECTED = Expected(samples=4, concepts={"polyp": 6})


def write(root: Path, rng: np.random.Generator) -> None:
    """Four frames, of which the last has three polyps."""
    folder = root / "ETIS-LaribPolypDB"
    view = draw.ellipse(SIZE, (80, 102), (78, 95))
    for number in (1, 2, 10, 196):
        polyps = draw.blobs(rng, SIZE, 3 if number == 196 else 1, (12, 20))
        image = draw.picture(rng, SIZE, [view, *polyps], [(150, 60, 50), (190, 90, 80)], (0, 0, 0), noise=0)
        mask = np.logical_or.reduce(polyps)
        stored = {1: mask, 2: draw.white(mask)}.get(number, np.stack([draw.white(mask)] * 3, axis=2))
        draw.save(folder / f"ETIS-LaribPolypDB/{number}.tif", image, compression="tiff_lzw")
        draw.save(folder / f"Ground Truth/p{number}.tif", stored, compression="tiff_lzw")
