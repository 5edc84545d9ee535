"""A made-up abdomen: thirteen organs of plausible size and shape, with uneven outlines, at any resolution."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# centre and half axes in mm, as (head, back, left) from the middle of the frame
ORGANS = {
    "liver": ((20, -15, -65), (70, 75, 75)),
    "stomach": ((25, -40, 50), (35, 30, 45)),
    "spleen": ((20, 45, 95), (45, 30, 25)),
    "right_kidney": ((-35, 60, -55), (50, 25, 25)),
    "left_kidney": ((-25, 60, 60), (50, 25, 25)),
    "gallbladder": ((-20, -40, -30), (25, 14, 14)),
    "esophagus": ((80, 40, 12), (35, 8, 8)),
    "aorta": ((0, 50, 12), (130, 11, 11)),
    "inferior_vena_cava": ((0, 45, -18), (130, 12, 10)),
    "portal_vein_and_splenic_vein": ((5, 15, 10), (8, 8, 60)),
    "pancreas": ((-12, 5, 25), (14, 12, 55)),
    "right_adrenal_gland": ((25, 55, -35), (17, 6, 10)),
    "left_adrenal_gland": ((25, 55, 40), (17, 6, 12)),
}


def abdomen(
    shape: tuple[int, int, int] = (60, 128, 128),
    spacing: tuple[float, float, float] = (4.0, 3.0, 3.0),
    seed: int = 0,
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Labels (1 to 13 in the order of `ORGANS`) and a CT in HU, D×H×W."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    grids = [(np.arange(n) - n / 2) * s for n, s in zip(shape, spacing, strict=True)]
    rough = ndimage.zoom(rng.normal(size=(8, 10, 10)), [n / m for n, m in zip(shape, (8, 10, 10))], order=1)
    for value, (centre, axes) in enumerate(ORGANS.values(), start=1):
        own = [c + rng.normal(0, 4) for c in centre]
        sizes = [a * rng.uniform(0.9, 1.1) for a in axes]
        windows = [
            np.flatnonzero(np.abs(g - c) <= 1.5 * a) for g, c, a in zip(grids, own, sizes, strict=True)
        ]
        if not all(len(w) for w in windows):
            continue
        box = tuple(slice(w[0], w[-1] + 1) for w in windows)
        z, y, x = np.ix_(*((g[w] - c) / a for g, w, c, a in zip(grids, windows, own, sizes, strict=True)))
        inside = z * z + y * y + x * x <= 1 + 0.25 * rough[box]
        region = labels[box]
        region[inside & (region == 0)] = value
    noise = rng.normal(0, 12, shape)
    body = np.abs(grids[1])[None, :, None] / 110, np.abs(grids[2])[None, None, :] / 160
    tissue = np.where(body[0] ** 2 + body[1] ** 2 <= 1, 20, -1000) + np.zeros(shape)
    tissue[labels > 0] = 60 + 8 * labels[labels > 0]
    return labels, (tissue + noise).astype(np.int16)


def write_btcv(
    root: Path, number: int, labels: np.ndarray, image: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    """A case in the layout of Synapse; arrays from the feet up, from front to back, from the patient's right."""
    order = ["spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta"]
    order += ["inferior_vena_cava", "portal_vein_and_splenic_vein", "pancreas"]
    order += ["right_adrenal_gland", "left_adrenal_gland"]
    table = np.zeros(len(ORGANS) + 1, np.uint8)
    for value, name in enumerate(ORGANS, start=1):
        table[value] = 1 + order.index(name)
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    for part, array in (("img", image), ("label", table[labels])):
        path = root / f"RawData/Training/{part}/{part}{number:04d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array.T, affine), path)
