"""Volumes put together again from their slices: NIfTI files on the lattice from which the slices were taken.

That is the grid of the image as it was downloaded, axis by axis, unless the image was resampled to another's grid.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation, ornt_transform
from numpy.typing import NDArray

from medshards.curate.volumes import Grid, same_grid
from medshards.shards.export.samples import GRID

ORIGINAL = "original_grid"  # field of a record: of the image as it was downloaded


@dataclass
class Open:
    """A volume whose slices are coming in. images: values H×W; labels: H×W; both by slice number."""

    grid: Grid
    original: Grid
    images: dict[int, NDArray[Any]] = field(default_factory=dict)
    labels: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: dict[str, Any]) -> Open:
        """Without slices, of the record of one."""
        return cls(Grid.of(record[GRID]), Grid.of(record.get(ORIGINAL, record[GRID])))

    @property
    def whole(self) -> bool:
        """Whether all slices are there."""
        return len(self.images) == self.grid.shape[0]

    def files(self) -> tuple[bytes, bytes]:
        """The image and its label map as NIfTI files (.nii.gz)."""
        numbers = sorted(self.images)
        image = np.stack([self.images[number] for number in numbers])
        if image.dtype == np.int32 and abs(image).max() <= np.iinfo(np.int16).max:
            image = image.astype(np.int16)
        return self._nifti(image), self._nifti(np.stack([self.labels[number] for number in numbers]))

    def _nifti(self, array: NDArray[Any]) -> bytes:
        """An array D×H×W of the grid, on the original one where that has the same voxels in another order."""
        image = nib.Nifti1Image(array.T, self.grid.affine)
        turn = ornt_transform(io_orientation(self.grid.affine), io_orientation(self.original.affine))
        turned = image.as_reoriented(turn)
        width, height, depth = turned.shape
        if same_grid(Grid((depth, height, width), turned.affine), self.original):
            image = turned
        return nifti_file(image)


def nifti_file(image: nib.Nifti1Image) -> bytes:
    """A volume in mm as a file (.nii.gz), always the same bytes."""
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def values_of(stored: NDArray[Any], record: dict[str, Any]) -> NDArray[Any]:
    """The numbers of a slice as the source had them: int32 where they are whole, else float32."""
    meaning = record["intensity"]
    if meaning is None:
        return stored
    slope, intercept = float(meaning["slope"]), float(meaning["intercept"])
    if slope == 1.0 and intercept.is_integer():
        return stored.astype(np.int32) + np.int32(intercept)
    return (stored * slope + intercept).astype(np.float32)
