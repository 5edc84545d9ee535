"""BTCV as Synapse packs it: CT stored towards left, front and head; a label without a usable header; a test scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medshards.curate.phantoms import Expected, draw

SIZE = (40, 48)  # rows from the back to the front, columns from the patient's right to left, as stored
DEPTH = 5  # slices; the first holds no organ
LAS = np.diag([-0.8, 0.7, 3.0, 1.0])
ORGANS = {  # value: (row, column), half axes 3
    1: (20, 40),  # spleen, on the patient's left
    2: (8, 12),
    3: (8, 36),
    4: (34, 14),
    5: (16, 26),
    6: (24, 8),  # liver, on the right
    7: (30, 36),
    8: (10, 26),
    9: (10, 20),
    10: (20, 20),
    11: (24, 28),
    12: (16, 14),
    13: (14, 34),
}
EXPECTED = Expected(
    samples=8,
    concepts={
        "spleen": 8,
        "right_kidney": 8,
        "left_kidney": 8,
        "gallbladder": 4,
        "esophagus": 8,
        "liver": 8,
        "stomach": 8,
        "aorta": 8,
        "inferior_vena_cava": 8,
        "portal_vein_and_splenic_vein": 8,
        "pancreas": 8,
        "right_adrenal_gland": 8,
        "left_adrenal_gland": 8,
    },
    skipped=1,
)


def write(root: Path, rng: np.random.Generator) -> None:
    """Two labelled scans, the second without a gallbladder, and a test scan."""
    for number in (1, 23, 61):
        organs = {value: center for value, center in ORGANS.items() if (number, value) != (23, 4)}
        image, labels = volumes(rng, organs)
        part = "Testing" if number == 61 else "Training"
        save(root / f"RawData/{part}/img/img{number:04d}.nii.gz", image, LAS)
        if number != 61:
            save(
                root / f"RawData/{part}/label/label{number:04d}.nii.gz", labels, None if number == 23 else LAS
            )


def volumes(
    rng: np.random.Generator, organs: dict[int, tuple[int, int]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A CT in HU and its labels, D×H×W as stored."""
    labels = np.zeros((DEPTH, *SIZE), np.uint8)
    for value, center in organs.items():
        labels[1:, draw.ellipse(SIZE, center, (2, 2))] = value
    body = draw.ellipse(SIZE, (20, 24), (19, 23))
    tissue = np.where(labels > 0, 60 + 10 * labels.astype(np.int16), np.where(body, -80, -1000))
    return (tissue + rng.integers(-5, 6, tissue.shape)).astype(np.int16), labels


def save(path: Path, array: NDArray[Any], affine: NDArray[Any] | None) -> None:
    """Write an array whose last axis is the file's first one; without an affine the header tells no orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T, affine), path)
