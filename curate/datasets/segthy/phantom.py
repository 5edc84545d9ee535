"""SegThy: MRI with thyroid and vessels, with thyroid alone, with a label of four axes; ultrasound; unlabelled ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medshards.curate.phantoms import Expected, draw

SIZE = (32, 32)
DEPTH = 4  # slices; the inner two are labelled
EXPECTED = Expected(
    samples=8,
    concepts={"thyroid": 16, "carotid_artery": 4, "jugular_vein": 4},
    skipped=1,
)
LPS = np.diag([-0.5, -0.5, 2.0, 1.0])  # columns to the left, rows to the back: upright as stored
LOBES = [((16, 10), 1), ((16, 22), 1)]
VESSELS = [((25, 5), 2), ((7, 5), 3), ((25, 27), 4), ((7, 27), 5)]


def write(root: Path, rng: np.random.Generator) -> None:
    """Volunteers 001 (vessels and thyroid), 005 (a fourth axis) and 006 (no labels) in MRI, 001 twice in ultrasound."""
    mri = root / "MRI_volunteer_dataset"
    for volunteer, drawn in (("001", LOBES + VESSELS), ("005", LOBES), ("006", [])):
        image, labels = volumes(rng, drawn)
        save(mri / f"MRI/{volunteer}_MRI.nii.gz", image.astype(np.int16) * 4, LPS)
        if volunteer == "001":
            save(
                mri / "MRI_thyroid+jugular+carotid_label/001_MRI_thyroid+jugular+carotid_label.nii.gz",
                labels,
                LPS,
            )
        thyroid = labels * (labels == 1)
        if volunteer == "005":
            thyroid = np.stack([thyroid, np.full_like(thyroid, 9)])  # the second channel is needless
        if volunteer != "006":
            save(mri / f"MRI_thyroid_label/{volunteer}_MRI_thyroid_label.nii.gz", thyroid, LPS)
    us = root / "US_volunteer_dataset/ground_truth_data"
    for stem in ("001_P1_1_left", "001_P1_2_left"):
        image, labels = volumes(rng, LOBES)
        save(us / f"US/{stem}_US.nii", image.astype(np.float32), np.eye(4))
        save(us / f"US_thyroid_label/{stem}.nii", labels, np.eye(4))


def volumes(
    rng: np.random.Generator, drawn: list[tuple[tuple[int, int], int]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """An image (D×H×W) in which the structures show in both inner slices, and their labels."""
    labels = np.zeros((DEPTH, *SIZE), np.uint8)
    for center, value in drawn:
        labels[1:3, draw.ellipse(SIZE, center, (3, 3))] = value
    return np.stack([draw.picture(rng, SIZE, [s > 0], [180], 60) for s in labels]), labels


def save(path: Path, array: NDArray[Any], affine: NDArray[Any]) -> None:
    """Write an array whose last axis is the file's first one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T, affine), path)
