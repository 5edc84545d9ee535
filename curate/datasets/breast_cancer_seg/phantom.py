"""BCSS: the one-pixel frame of stroma, a rotated region with empty corners, specks, tables that are no images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (120, 150)
EXPECTED = Expected(
    samples=4,
    concepts={"breast_tumor": 7, "lymphocytic_infiltrate": 3, "tumor_stroma": 4},
)
TUMOR, STROMA, LYMPHOCYTES, EXCLUDE = 1, 2, 3, 7


def write(root: Path, rng: np.random.Generator) -> None:
    """Three upright regions with two tumours each and one rotated region with one; stroma fills the rest."""
    folder = root / "0_Public-data-Amgad2019_0.25MPP"
    for site, rotated in (("A1-A0SK", False), ("A2-A0SX", False), ("S3-AA15", False), ("D8-A27M", True)):
        codes = np.full(SIZE, STROMA, np.uint8)
        tumors = [draw.ellipse(SIZE, (60, column), (22, 18)) for column in ((40,) if rotated else (40, 110))]
        for tumor in tumors:
            codes[tumor] = TUMOR
        codes[90:110, 60:85] = EXCLUDE if rotated else LYMPHOCYTES
        codes[5, 5] = TUMOR  # a speck below the floor
        if rotated:
            codes[~draw.ellipse(SIZE, (60, 75), (57, 72))] = 0
        else:  # a line that parts the frame from the other stroma: kept, the frame would count as one more
            codes[1, 1:-1] = codes[-2, 1:-1] = EXCLUDE
            codes[1:-1, 1] = codes[1:-1, -2] = EXCLUDE
        name = f"TCGA-{site}-DX1_xmin45749_ymin25055_MPP-0.2500.png"
        image = draw.picture(rng, SIZE, [codes == TUMOR], [(150, 70, 150)], (230, 180, 210))
        draw.save(folder / "rgbs_colorNormalized" / name, image)
        draw.save(folder / "masks" / name, codes)
    draw.text(folder / "meta/gtruth_codes.tsv", "label\tGT_code\r\noutside_roi\t0\r\ntumor\t1\r\n")
