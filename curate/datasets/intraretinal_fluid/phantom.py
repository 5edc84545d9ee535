"""Intraretinal fluid from Kaggle: mirrored copies under other numbers, a stray mask, grey and RGB scans, a pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (64, 96)
COPIES = {"dme_a1": "0DME_as_F", "dme_a10": "1DME_as_F", "DME511": "815DME_F", "DME_S_72": "236DME_as_F"}
CYSTS = {"dme_a1": 1, "dme_a10": 2, "DME511": 1, "DME_S_72": 3}
EXPECTED = Expected(samples=8, concepts={"intraretinal_cystoid_fluid": 14}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Four scans and their mirror images."""
    top = root / "2021-training-data-ZA/2021-training-data-ZA"
    for name, copy in COPIES.items():
        cysts = draw.blobs(rng, SIZE, CYSTS[name], (4, 8))
        mask = draw.white(np.logical_or.reduce(cysts))
        scan = draw.picture(rng, SIZE, cysts, [20], background=120)
        stray = mask
        for folder, image, own in ((name, scan, mask), (copy, scan[:, ::-1], mask[:, ::-1])):
            pixels = np.dstack([image] * 3) if folder.endswith("F") else np.ascontiguousarray(image)
            draw.save(top / folder / f"images/{folder}.jpeg", pixels, quality=90)
            draw.save(top / folder / f"masks/{folder}_mask.png", np.ascontiguousarray(own))
        if copy == "815DME_F":
            draw.save(top / copy / "masks/MASK-DME511.png", stray)
    draw.text(top.parent / "Y_train_1006.pickle", "not a picture")
