"""GlaS: BMPs in one folder, ids of glands, glands that share one id, stray ids, Grade.csv with bare CRs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (52, 64)
EXPECTED = Expected(samples=6, concepts={"gland": 18})
ROWS = (
    ("testA_1", 4, "benign", "adenomatous"),
    ("testA_10", 10, "benign", "healthy"),
    ("testB_3", 7, "malignant", "moderately differentiated"),
    ("train_1", 4, "benign", "adenomatous"),
    ("train_12", 2, "malignant", "poorly differentiated"),
    ("train_44", 11, "malignant", "moderately-to-poorly differentated"),
)


def write(root: Path, rng: np.random.Generator) -> None:
    """Six images of three glands each, five patients; testB_3 has one id, train_44 a stray pixel with an id."""
    folder = root / "Warwick_QU_Dataset"
    for name, *_ in ROWS:
        glands = draw.blobs(rng, SIZE, 3, (6, 9))
        ids = np.zeros(SIZE, np.uint8)
        for number, gland in enumerate(glands, start=1):
            ids[gland] = 1 if name == "testB_3" else number
        if name == "train_44":
            ids[0, 0] = 4
        image = draw.picture(rng, SIZE, glands, [(220, 190, 215)], (170, 110, 160))
        draw.save(folder / f"{name}.bmp", image)
        draw.save(folder / f"{name}_anno.bmp", ids)
    header = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
    draw.text(folder / "Grade.csv", "\r".join([header, *(", ".join(map(str, row)) for row in ROWS)]) + "\r")
