"""Predictions on slices back into volumes: NIfTI files on the grid of the image as it was downloaded.

    writer = VolumeWriter(Path("predictions"))
    for number in range(len(corpus)):
        sample = decode(corpus.read(number))
        writer.add(sample.record, {"liver": mask, ...})     # bool H×W by concept, as `protocol.contest` gives them
    paths = writer.close()

Each volume becomes a folder of binary masks, one a concept (concepts may overlap): <out>/<volume>/<concept>.nii.gz,
uint8. Slices that were not predicted stay empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medshards.common.files import write_atomically
from medshards.curate.sample import Region
from medshards.curate.volumes import Grid, Volume, resample, same_grid
from medshards.shards.export.volumes import nifti_file


class VolumeError(Exception):
    """Predictions that cannot be put into a volume; the message says why."""


@dataclass
class _Predicted:
    """The masks of one volume so far: concept → slice → region; small, as regions are kept by their boxes."""

    grid: Grid
    original: Grid
    regions: dict[str, dict[int, Region]] = field(default_factory=dict)


class VolumeWriter:
    """Collects masks of slices and writes volumes. A volume is written when the next one begins, so slices of one
    volume should come together, as they do in a shard; memory is that of one volume."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._name = ""
        self._open: _Predicted | None = None
        self._written: list[Path] = []

    def add(self, record: Mapping[str, Any], masks: Mapping[str, NDArray[np.bool_]]) -> None:
        """Add the masks (bool H×W by concept) of a slice; samples that are no slices of a volume are passed over.

        Raises VolumeError when the record has no grid, or when the slices of a volume do not come together.
        """
        if not record.get("volume"):
            return
        name = str(record["volume"])
        if name != self._name:
            self._finish()
            if self._path(name).exists():
                raise VolumeError(
                    f"{self._path(name)} is there already; give slices of a volume together, and a new folder"
                )
            self._name, self._open = name, _Predicted(*grids_of(record))
        assert self._open is not None
        height, width = self._open.grid.shape[1:]
        for concept, mask in masks.items():
            own = self._open.regions.setdefault(concept, {})
            if mask.shape != (height, width):  # stored smaller than the volume is
                mask = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
            if mask.any():
                own[int(record["slice"][0])] = Region.of(mask)

    def close(self) -> list[Path]:
        """Write what is left; returns all files."""
        self._finish()
        return self._written

    def _path(self, name: str) -> Path:
        return self._out / name

    def _finish(self) -> None:
        if self._open is None:
            return
        found = self._open
        folder = self._path(self._name)
        folder.mkdir(parents=True, exist_ok=True)
        for concept, regions in sorted(found.regions.items()):
            volume = restore(regions, found.grid, found.original)
            image = nib.Nifti1Image(volume.array.view(np.uint8).T, volume.affine)
            write_atomically(folder / f"{concept}.nii.gz", nifti_file(image))
            self._written.append(folder / f"{concept}.nii.gz")
        self._open, self._name = None, ""


def grids_of(record: Mapping[str, Any]) -> tuple[Grid, Grid]:
    """The grid of a volume's slices, and that of the image as downloaded. Raises VolumeError when there is none."""
    try:
        own, original = record["grid"], record["original_grid"]
    except KeyError:
        raise VolumeError(
            f"{record['key']}: its record has no grid, so it cannot be put into a volume"
        ) from None
    return Grid.of(own), Grid.of(original)


def restore(regions: Mapping[int, Region], grid: Grid, original: Grid) -> Volume:
    """Masks by slice number as a volume on the `original` grid: exact where it is the same lattice, whatever the
    order of its axes, else by nearest neighbour."""
    array = np.zeros(grid.shape, bool)
    for index, region in regions.items():
        array[index][region.window()] |= region.crop
    volume = Volume(array, grid.affine, "SEG", "mask")
    return volume if same_grid(grid, original) else resample(volume, original)
