"""CHASE_DB1 as its zip unpacks: flat, 1-bit masks, a second observer beside the first."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (96, 100)
CHILDREN = (1, 2, 14)
EXPECTED = Expected(samples=6, concepts={"retinal_vessel": 6})


def write(root: Path, rng: np.random.Generator) -> None:
    """Both eyes of three children, each with the masks of two observers."""
    fov = draw.ellipse(SIZE, (48, 50), (45, 45))
    for child in CHILDREN:
        for eye in "LR":
            name = f"Image_{child:02d}{eye}"
            vessels = draw.tree(rng, SIZE) & fov
            image = draw.picture(
                rng, SIZE, [fov, vessels], [(200, 80, 30), (120, 30, 15)], (4, 4, 4), noise=4
            )
            draw.save(root / f"CHASE_DB1/{name}.jpg", image, quality=95)
            draw.save(root / f"CHASE_DB1/{name}_1stHO.png", vessels)
            draw.save(root / f"CHASE_DB1/{name}_2ndHO.png", draw.tree(rng, SIZE) & fov)
