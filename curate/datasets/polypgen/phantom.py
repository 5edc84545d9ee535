"""PolypGen: single frames and sequences, empty masks, grey and RGB JPEG masks, negatives whose names say "positive"."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZES = ((90, 120), (100, 100), (80, 110))
EXPECTED = Expected(samples=12, concepts={"polyp": 8})
FRAMES = (  # folder of images_ and masks_, name, number of polyps
    ("data_C1/{}_C1", "104OLCV1_100H0002", 1),
    ("data_C1/{}_C1", "100S0001", 0),
    ("data_C3/{}_C3", "C3_EndoCV2021_00464", 1),
    ("data_C4/{}_C4", "0_endocv2021_positive_12", 1),
    ("sequenceData/positive/seq1/{}_seq1", "0_endocv2021_positive_284", 0),
    ("sequenceData/positive/seq2/{}_seq2", "0_endocv2021_positive_301", 1),
    ("sequenceData/positive/seq11/{}_seq11", "EndoCV2021_seq11_Image_2201450", 2),
    ("sequenceData/positive/seq11/{}_seq11", "EndoCV2021_seq11_Image_2201475", 1),
    ("sequenceData/positive/seq16/{}_seq16", "seq1_C6_230", 1),
)
NEGATIVES = (
    "seq3_neg/seq3_neg_2_endocv2021_positive_7",
    "seq11_neg/EndoCV2021_C5_seq1_3",
    "seq11_neg/EndoCV2021_C5_seq1_4",
)


def write(root: Path, rng: np.random.Generator) -> None:
    """Nine frames with masks, of which two are empty; three negatives without mask; boxes that are not read."""
    folder = root / "PolypGen2021_MultiCenterData_v3"
    for number, (place, name, count) in enumerate(FRAMES):
        size = SIZES[number % len(SIZES)]
        polyps = draw.blobs(rng, size, count, (10, 16))
        mask = draw.white(np.logical_or.reduce([np.zeros(size, bool), *polyps]))
        image = draw.picture(rng, size, polyps, [(190, 90, 80)], (150, 60, 50))
        draw.save(folder / place.format("images") / f"{name}.jpg", image)
        mask = mask if number % 2 else np.stack([mask] * 3, axis=2)
        draw.save(folder / place.format("masks") / f"{name}_mask.jpg", mask)
        draw.text(folder / place.format("bbox") / f"{name}_mask.txt", "polyp 1 1 9 9\n" * count)
    for name in NEGATIVES:
        image = draw.picture(rng, SIZES[0], (), (), (150, 60, 50))
        draw.save(folder / f"sequenceData/negativeOnly/{name}.jpg", image)
