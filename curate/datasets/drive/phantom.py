"""DRIVE in the old distribution: LZW TIFFs, GIF manuals, fields of view that are no labels, a second observer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (146, 141)
EXPECTED = Expected(samples=8, concepts={"retinal_vessel": 8}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Six training images, two test images with manuals, one without."""
    fov = draw.ellipse(SIZE, (73, 70), (66, 66))
    for number in [*range(21, 27), 1, 2, 3]:
        split = "training" if number > 20 else "test"
        folder = root / "DRIVE" / split
        vessels = draw.tree(rng, SIZE) & fov
        image = draw.picture(rng, SIZE, [fov, vessels], [(190, 110, 70), (110, 40, 30)], (4, 4, 4), noise=4)
        draw.save(folder / f"images/{number:02d}_{split}.tif", image, compression="tiff_lzw")
        draw.save(folder / f"mask/{number:02d}_{split}_mask.gif", draw.white(fov))
        if number != 3:
            draw.save(folder / f"1st_manual/{number:02d}_manual1.gif", draw.white(vessels))
        if split == "test":
            draw.save(folder / f"2nd_manual/{number:02d}_manual2.gif", draw.white(vessels))
