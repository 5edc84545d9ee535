"""The two images of a study, from NIfTI or DICOM: their grids first, their voxels one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from medshards.curate.formats.dicom.kinds import DAMAGED
from medshards.curate.formats.dicom.series import Scan, Series, scan
from medshards.curate.formats.dicom.stack import Stack, read_suv, read_volume, stack
from medshards.curate.formats.dicom.suv import MAX_SUV_P999, check_suv_range, top_of
from medshards.curate.formats.files import blame
from medshards.curate.formats.volumes import nifti
from medshards.curate.paired.study import choose_contrast
from medshards.curate.sample import Reject
from medshards.curate.source import Case
from medshards.curate.tree import File
from medshards.curate.volumes import Grid, Volume, as_axial, same_grid

COMPOSED = 1.5  # a composed whole-body series is longer than any of its stations by at least this factor
OVERLAP = 0.5  # part of the smaller image that must lie in the other


class Images(ABC):
    """PET and structural image of a case.

    modality: of the structural image, CT or MR. contrast: of an MR image, "" where unknown.
    """

    modality: str
    contrast: str

    @abstractmethod
    def grid(self, modality: str) -> Grid:
        """The grid of an image as stored; reads headers only."""

    @abstractmethod
    def read(self, modality: str) -> Volume:
        """An image as stored: HU, SUVbw (or Bq/ml, when the study is supplied so), or arbitrary."""

    @abstractmethod
    def file(self, modality: str) -> File:
        """The file to blame."""


@dataclass
class NiftiImages(Images):
    """Images from NIfTI files. An SUV is taken as supplied, never computed anew."""

    case: Case
    modality: str
    contrast: str = ""
    _headers: dict[str, nifti.Header] = field(default_factory=dict)

    def file(self, modality: str) -> File:
        return self.case.files[modality.lower()]

    def grid(self, modality: str) -> Grid:
        if modality not in self._headers:
            self._headers[modality] = nifti.read_header(self.file(modality))
        return self._headers[modality].grid

    def read(self, modality: str) -> Volume:
        unit = {"CT": "hu", "PT": "suvbw"}.get(modality, "arbitrary")
        volume = nifti.read_image(self.file(modality), modality, unit)
        with blame(self.file(modality)):
            return self._pet(volume) if modality == "PT" else volume

    def _pet(self, volume: Volume) -> Volume:
        """The PET in the unit that its layout states, or that its numbers leave possible."""
        stated = self.case.facts["pet_unit"]
        activity = top_of(volume.array) > MAX_SUV_P999
        if stated == "suv":
            check_suv_range(volume.array)
            unit, flag = "suvbw", "suv_as_supplied"
        elif activity:
            unit, flag = "bqml", "activity_not_suv"
        elif stated == "activity":
            unit, flag = "arbitrary", "pet_unit_unknown"
        else:
            unit, flag = "suvbw", "suv_as_supplied"
        return Volume(volume.array, volume.affine, "PT", unit, flags=(*volume.flags, flag))


class DicomImages(Images):
    """Images from the DICOM series of a study. Every file is opened once and held until the case is done.

    Raises: Reject for files that cannot be read beside others of their series, for series that are missing or that
    cannot be chosen between.
    """

    def __init__(self, case: Case, modality: str) -> None:
        self._roles = {
            part: (role, file) for role in case.files.values() for part, file in by_part(role).items()
        }
        self.scan: Scan = scan((file for _, file in self._roles.values()), keep=True)
        self._check_whole()
        pet = choose_pet(self.scan)
        if modality == "CT":
            structural, self.contrast = choose_structural(self.scan, "CT", pet), ""
        else:
            structural = choose_mr(self.scan, pet)
            self.contrast = structural.contrast
        self.modality = modality
        self.series: Mapping[str, Series] = {"PT": pet, modality: structural}
        self._stacks: dict[str, Stack] = {}

    def _check_whole(self) -> None:
        """Refuse a series of which a file is damaged: the volume would lack a slice, at its end without a gap."""
        whole = {self._roles[file.path][0] for series in self.scan.series for file in series.files}
        for left in self.scan.left_out:
            for file in left.files if left.code in DAMAGED else ():
                if self._roles[file.path][0] in whole:
                    raise Reject(left.code, f"{left.message}; download the series again", file.name)

    def file(self, modality: str) -> File:
        return self._roles[self.series[modality].files[0].path][0]

    def grid(self, modality: str) -> Grid:
        if modality not in self._stacks:
            with blame(self.file(modality)):
                self._stacks[modality] = stack(self.series[modality])
        return self._stacks[modality].grid

    def read(self, modality: str) -> Volume:
        with blame(self.file(modality)):
            if modality == "PT":
                return read_suv(self.series["PT"])
            return read_volume(self.series[modality])


def by_part(file: File) -> dict[Path, File]:
    """The parts of a file, each under a name that says where it lies in its folder and not what it is called."""
    places = {folder: _places(folder) for folder in {part.parent for part in file.parts}}
    return {part: File(f"{file.name}, {places[part.parent][part.name]}", part) for part in file.parts}


def place(path: Path) -> str:
    """Which file of its folder it is, as a name may be that of a patient: `file 23 of 24 by name`."""
    return _places(path.parent)[path.name]


def _places(folder: Path) -> dict[str, str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    return {name: f"file {n} of {len(names)} by name" for n, name in enumerate(names, start=1)}


def choose_pet(found: Scan) -> Series:
    """The PET series. Raises Reject `several_series`, `missing_image`, or why it was left out."""
    return _only(found, "PT")


def _only(found: Scan, modality: str) -> Series:
    series = [s for s in found.series if s.modality == modality]
    if len(series) > 1:
        sizes = ", ".join(f"{len(s.frames)}×{s.rows}×{s.columns}" for s in series)
        message = f"the study has {len(series)} usable {modality} series ({sizes}); leave the one to be used"
        raise Reject("several_series", message)
    if series:
        return series[0]
    reasons = ", ".join(f"{left.message} ({len(left.files)} files)" for left in found.left_out)
    code = found.left_out[0].code if len(found.left_out) == 1 else "missing_image"
    raise Reject(code, f"no usable {modality} series" + (f"; left out: {reasons}" if reasons else ""))


def choose_structural(found: Scan, modality: str, pet: Series) -> Series:
    """The series of a modality in the PET's frame of reference.

    Raises Reject `frame_of_reference_differs`, `several_series`, `missing_image`.
    """
    series = [s for s in found.series if s.modality == modality]
    near = tuple(s for s in series if s.frame_of_reference == pet.frame_of_reference)
    if series and not near:
        message = f"PET and {modality} have different frames of reference; a registration would be needed"
        raise Reject("frame_of_reference_differs", message)
    return _only(Scan(near, found.left_out), modality)


def choose_mr(found: Scan, pet: Series) -> Series:
    """The MR series to segment organs on: of the wanted contrast, and composed of all stations.

    Raises Reject `mr_contrast_unsupported`, `stations_only`, and those of `choose_structural`.
    """
    near = [s for s in found.series if s.modality == "MR" and s.frame_of_reference == pet.frame_of_reference]
    if not near:
        return choose_structural(found, "MR", pet)  # says why there is none
    wanted = choose_contrast([s.contrast for s in near])
    series = sorted((s for s in near if s.contrast == wanted), key=_length)
    if len(series) == 1:
        return series[0]
    if _length(series[-1]) >= COMPOSED * _length(series[-2]):
        return series[-1]
    if any(abs(_middle(s) - _middle(series[0])) > _length(series[0]) / 2 for s in series[1:]):
        message = f"the MR comes in {len(series)} stations; give the series composed of them by the scanner"
        raise Reject("stations_only", message)
    raise Reject(
        "several_series", f"the study has {len(series)} usable MR series ({wanted or 'no contrast named'})"
    )


def _heights(series: Series) -> np.ndarray:
    row, column = np.array(series.orientation[:3]), np.array(series.orientation[3:])
    # coronal slabs run along the patient within the picture, axial ones from slice to slice
    across = row * series.spacing[1] * (series.columns - 1) + column * series.spacing[0] * (series.rows - 1)
    return np.array([f.position[2] + end for f in series.frames for end in (0.0, float(across[2]))])


def _length(series: Series) -> float:
    """Extent along the patient in mm."""
    return float(np.ptp(_heights(series)))


def _middle(series: Series) -> float:
    heights = _heights(series)
    return float(heights.max() + heights.min()) / 2


def axial_grid(grid: Grid) -> Grid:
    """The grid after `as_axial`: the same lattice, slices from feet to head."""
    nothing = np.broadcast_to(np.zeros((), np.uint8), grid.shape)
    return as_axial(Volume(nothing, grid.affine, "", "label", grid.frame)).grid


def check_overlap(pet: Grid, structural: Grid, claims_same: bool) -> None:
    """Refuse two images that cannot show the same body.

    Raises Reject `grid_mismatch` when the structural image was said to lie on the PET's grid and does not,
    `images_apart` when less than half of the smaller one lies in the other.
    """
    if claims_same and not same_grid(axial_grid(pet), axial_grid(structural)):
        message = "the image is said to be resampled to the grid of the PET, and its header has another grid"
        raise Reject("grid_mismatch", message)
    boxes = [_box(grid) for grid in (pet, structural)]
    low, high = np.maximum(boxes[0][0], boxes[1][0]), np.minimum(boxes[0][1], boxes[1][1])
    common = float(np.prod(np.clip(high - low, 0, None)))
    if common < OVERLAP * min(float(np.prod(b[1] - b[0])) for b in boxes):
        message = "PET and structural image lie at different places; their frames of reference do not agree"
        raise Reject("images_apart", message)


def _box(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest x, y, z (RAS mm) of a grid's voxels, borders included."""
    depth, height, width = grid.shape
    sides = [(-0.5, count - 0.5) for count in (width, height, depth)]
    corners = (grid.affine @ np.array([(*ends, 1) for ends in product(*sides)]).T)[:3]
    return corners.min(axis=1), corners.max(axis=1)
