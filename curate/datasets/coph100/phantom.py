"""COph100 as from Figshare with RIDIRP beside it: photographs elsewhere, two eyes of a patient, one image in both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (96, 128)
EYES = {  # examinations of each eye, without the patient's number
    "002": ("F_GA41_BW2905_PA44_DG11_PF0_D1_S01_1", "F_GA41_BW2905_PA46_DG11_PF0_D1_S02_4"),
    "055": ("M_GA38_BW3245_PA78_DG13_PF0_D1_S09_6",),
    "055-1": ("M_GA38_BW3245_PA42_DG13_PF0_D1_S03_2", "M_GA38_BW3245_PA78_DG13_PF0_D1_S09_5"),
    "101": ("F_GA30_BW1100_PA44_DG111_DG20_PF0_D1_S1_3",),  # an early name
}
EXPECTED = Expected(samples=6, concepts={"retinal_vessel": 6})


def write(root: Path, rng: np.random.Generator) -> None:
    """Six examinations of four eyes of three patients, and a photograph of RIDIRP that is in no eye folder."""
    for eye, names in EYES.items():
        for name in names:
            stem = f"{eye[:3]}_{name}"
            stage = name.split("_S")[-1].split("_")[0].zfill(2)
            fov = draw.ellipse(SIZE, (48, 64), (46, 62))
            vessels = draw.tree(rng, SIZE) & fov
            image = draw.picture(rng, SIZE, [fov, vessels], [(160, 80, 60), (110, 30, 30)], (5, 5, 5))
            draw.save(root / f"RIDIRP/images/{eye[:3]}/{stage}/{stem}.jpg", image, quality=85)
            draw.save(root / f"COph100/{eye}/{stem}_mask.png", draw.white(vessels))
            draw.text(root / f"COph100/{eye}/{stem}.json", json.dumps({"version": "5.2.1", "shapes": []}))
    draw.save(root / "RIDIRP/images/002/01/002_F_GA41_BW2905_PA44_DG11_PF0_D1_S01_2.jpg", image, quality=85)
    draw.text(root / "COph100/Copy_COph100_from_ROP.py", "print('copies the photographs')\n")
