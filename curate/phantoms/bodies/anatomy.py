"""A body of ellipsoids on a small PET grid, and what CT, MR and PET show of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (
    20,
    16,
    20,
)  # slices from feet to head, rows from front to back, columns from the patient's right to left
SPACING = (12.0, 16.0, 16.0)  # mm
# Ellipsoids of each organ by the boxes around them: first and last slice, row and column
ORGANS: dict[str, list[tuple[int, int, int, int, int, int]]] = {
    "brain": [(16, 18, 5, 10, 7, 12)],
    "lung": [(10, 14, 4, 11, 2, 5), (10, 14, 4, 11, 14, 17)],
    "heart": [(10, 12, 4, 7, 8, 12)],
    "aorta": [(4, 14, 10, 11, 10, 11)],
    "liver": [(6, 9, 3, 10, 2, 8)],
    "spleen": [(6, 8, 8, 12, 15, 17)],
    "left kidney": [(4, 6, 9, 12, 13, 14)],
    "right kidney": [(4, 5, 9, 12, 5, 7)],
    "colon": [(2, 4, 3, 5, 4, 15)],
    "urinary bladder": [(0, 1, 6, 9, 8, 11)],
    "esophagus": [(9, 14, 8, 8, 9, 9)],
    "stomach": [(6, 8, 3, 6, 11, 14)],
    "pancreas": [(5, 6, 7, 8, 9, 13)],
}
SUV = {"brain": 8.0, "heart": 3.0, "liver": 2.3, "urinary bladder": 15.0, "lung": 0.5, "left kidney": 3.5}
HU = {"lung": -800, "liver": 60, "aorta": 150, "urinary bladder": 5, "stomach": 20}
CONCEPTS = {name: name.replace(" ", "_") for name in ORGANS}


@dataclass(frozen=True)
class Body:
    """The masks of all organs and the images, on the axial grid of the PET; structural is CT (HU) or MR."""

    masks: dict[str, NDArray[np.bool_]]
    suv: NDArray[np.float64]
    structural: NDArray[np.int16]


def slices_of(name: str) -> int:
    """Number of slices that an organ is seen on."""
    return len({k for box in ORGANS[name] for k in range(box[0], box[1] + 1)})


def annotated_slices() -> int:
    """Number of slices with any organ."""
    return len({k for boxes in ORGANS.values() for box in boxes for k in range(box[0], box[1] + 1)})


def organ_mask(name: str) -> NDArray[np.bool_]:
    """An organ (bool D×H×W). An ellipsoid reaches every side of its box; only the smallest organs fill theirs."""
    mask = np.zeros(SHAPE, bool)
    for box in ORGANS[name]:
        distance = np.zeros(SHAPE)
        for axis, (first, last) in enumerate(zip(box[::2], box[1::2], strict=True)):
            place = np.arange(SHAPE[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
            # half a voxel more than half the box, so that an organ two voxels thin has an end, too
            distance = distance + ((place - (first + last) / 2) / ((last - first + 2) / 2)) ** 2
        inside = np.zeros(SHAPE, bool)
        inside[box[0] : box[1] + 1, box[2] : box[3] + 1, box[4] : box[5] + 1] = True
        mask |= inside & (distance <= 1)
    return mask


def draw(rng: np.random.Generator, modality: str) -> Body:
    """A body with a little noise everywhere, so that no slice is empty."""
    masks = {}
    suv = np.full(SHAPE, 0.1)
    suv[:, 2:14, 1:19] = 0.8
    structural = np.full(SHAPE, -1000 if modality == "CT" else 4)
    structural[:, 2:14, 1:19] = 40 if modality == "CT" else 300
    for number, name in enumerate(ORGANS):
        mask = masks[name] = organ_mask(name)
        suv[mask] = SUV.get(name, 1.5)
        structural[mask] = HU.get(name, 50) if modality == "CT" else 200 + 30 * number
    noise = (rng.random((2, *SHAPE)) < 0.1).astype(int)  # sparse, so that the files stay small
    return Body(masks, np.round(suv + 0.05 * noise[0], 2), (structural + noise[1]).astype(np.int16))


def axial_affine(scale: int = 1) -> NDArray[np.float64]:
    """RAS affine of the axial PET grid, or of one `scale` times finer within its slices."""
    depth, height, width = SHAPE
    dz, dy, dx = SPACING[0], SPACING[1] / scale, SPACING[2] / scale
    affine = np.diag([-dx, -dy, dz, 1.0])
    affine[:3, 3] = (width * scale - 1) * dx / 2, (height * scale - 1) * dy / 2, -depth * dz / 2
    return affine


def finer(array: NDArray[Any], scale: int = 2) -> NDArray[Any]:
    """The same picture on the grid of `axial_affine(scale)`."""
    return array.repeat(scale, axis=1).repeat(scale, axis=2)


def label_map(body: Body, ids: dict[int, str]) -> NDArray[np.uint8]:
    """The masks as one map of numbers."""
    found = np.zeros(SHAPE, np.uint8)
    for number, name in ids.items():
        if name in body.masks:
            found[body.masks[name]] = number
    return found


def save_nifti(
    path: Path, array: NDArray[Any], scale: int = 1, ras: bool = False, slope: float = 1.0
) -> None:
    """Write an axial array as NIfTI; `ras`: with columns from left to right and rows from back to front."""
    affine = axial_affine(scale)
    if ras:
        array = array[:, ::-1, ::-1]
        for axis in (0, 1):
            affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
    stored = np.rint(array / slope).astype(np.int16) if slope != 1.0 else array
    image = nib.Nifti1Image(np.ascontiguousarray(stored.T), affine)
    image.header.set_slope_inter(slope, 0.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
