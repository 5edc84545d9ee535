"""The organ masks of a study on the PET's axial grid, whatever they come as and were drawn on.

A mask must have been drawn on one of the two images. Drawn on the PET it stays as it is; drawn on the structural image
it is brought to the PET by nearest neighbour, so that both images of the pair carry the same masks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.dicom.rtstruct import StructureSet, plain_name
from medshards.curate.formats.dicom.segmentation import Segmentation
from medshards.curate.formats.files import blame
from medshards.curate.formats.volumes import nifti
from medshards.curate.masks import by_id
from medshards.curate.paired.images import DicomImages, Images, axial_grid
from medshards.curate.paired.tables import OrganNames, read_table
from medshards.curate.sample import Region, Reject
from medshards.curate.source import Case
from medshards.curate.tree import File
from medshards.curate.volumes import (
    GRID_TOLERANCE,
    Grid,
    Volume,
    as_axial,
    check_frames,
    resample_slices,
    same_grid,
)


@dataclass
class Organs:
    """Masks by label, each slice by slice.

    regions: label → slice of the PET's axial grid → region. An organ of which nothing is drawn has no slice.
    lost: what could not be drawn, counted.
    contoured: labels drawn as contours, of which a slice between two drawn ones says nothing.
    uncertain: labels of which something could not be drawn, so that no slice proves them absent.
    """

    regions: dict[str, dict[int, Region]] = field(default_factory=lambda: defaultdict(dict))
    flags: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    contoured: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)

    def annotated(self, slices: int) -> list[int]:
        """Number of annotated pixels of each slice."""
        return [sum(r[k].area for r in self.regions.values() if k in r) for k in range(slices)]

    def tells(self, label: str, index: int) -> bool:
        """True when a slice says whether an organ is there. An empty mask does not: it may have been emptied."""
        own = self.regions[label]
        if index in own:
            return True
        between = label in self.contoured and own and min(own) < index < max(own)
        return bool(own) and label not in self.uncertain and not between

    def swapped(self) -> bool:
        """True when a left organ lies to the right of its right one: a wrong label table, or a wrong orientation."""
        for label, own in self.regions.items():
            words = plain_name(label)
            other = next((o for o in self.regions if plain_name(o) == words.replace("left", "right")), label)
            # columns run from the patient's right to the left
            if other != label and own and self.regions[other] and _column(own) < _column(self.regions[other]):
                return True
        return False


def _column(regions: Mapping[int, Region]) -> float:
    """Mean column of the pixels."""
    weights = [(r.area, r.left + float(np.nonzero(r.crop)[1].mean())) for r in regions.values()]
    return math.fsum(a * c for a, c in weights) / sum(a for a, _ in weights)


def read_organs(case: Case, images: Images, names: OrganNames) -> Organs:
    """The masks of a case.

    Raises: Reject `label_table_missing`, `label_table_invalid`, `unknown_label`, `grid_mismatch`,
    `duplicate_organ`, `missing_mask`, `frame_of_reference_differs`, and those of the readers.
    """
    table = read_table(case.files["table"], _section(case)) if "table" in case.files else {}
    organs = Organs()
    maps = {role: file for role, file in case.files.items() if role.split(":")[0] == "labels"}
    for role, file in maps.items():
        section = role.partition(":")[2]
        if "table" not in case.files:
            message = "its integers need a label table (labels.json, dataset.json or a CSV id,name) beside or above it"
            raise Reject("label_table_missing", message, file.name)
        names_of = read_table(case.files["table"], section)
        with blame(file):
            _add_label_map(organs, file, names_of, images, names)
    for role, file in case.files.items():
        if role.startswith("mask:"):
            with blame(file):
                _add_binary(organs, file, role.removeprefix("mask:"), images)
    if not maps and not any(role.startswith("mask:") for role in case.files):
        assert isinstance(images, DicomImages)
        _add_dicom(organs, images, table, names)
    if not any(organs.regions.values()):
        raise Reject("missing_mask", "the masks hold no voxel of an organ on the slices of the PET")
    if organs.swapped():
        organs.flags.append("left_and_right_swapped")
    return organs


def _section(case: Case) -> str:
    return next((role.partition(":")[2] for role in case.files if role.startswith("labels:")), "")


def _add_label_map(
    organs: Organs, file: File, table: Mapping[str, str], images: Images, names: OrganNames
) -> None:
    labels: dict[int, str] = {}
    volume = nifti.read_labels(file)
    organs.flags += [flag for flag in volume.flags if flag not in organs.flags]
    before = set(organs.regions)
    for index, ids in enumerate(_on_pet(volume, images, organs)):
        if ids.dtype.kind == "i" and ids.min() < 0:
            raise Reject("unknown_label", f"voxels of value {ids.min()}; labels begin at 0")
        for number, region in by_id(ids).items():
            if number not in labels:
                labels[number] = _label_of(number, table, names)
                if labels[number] in before:
                    raise Reject("duplicate_organ", f"{labels[number]!r} is in two masks of the study")
            if not names.ignored(labels[number]):
                own = organs.regions[labels[number]]
                own[index] = _both(own[index], region, ids.shape) if index in own else region


def _label_of(number: int, table: Mapping[str, str], names: OrganNames) -> str:
    if str(number) not in table:
        known = ", ".join(f"{n} {name}" for n, name in list(table.items())[:30])
        raise Reject(
            "unknown_label", f"voxels of value {number}, which the label table does not list: {known}"
        )
    label = names.find(table[str(number)])
    if label is None:
        message = (
            f"the label table calls {number} {table[str(number)]!r}, which is no known organ: {names.known}"
        )
        raise Reject("unknown_label", message)
    return label


def _both(a: Region, b: Region, size: tuple[int, ...]) -> Region:
    height, width = size
    return Region.of(a.mask((height, width)) | b.mask((height, width)))


def _add_binary(organs: Organs, file: File, label: str, images: Images) -> None:
    volume = nifti.read_labels(file)
    values = np.unique(volume.array)
    # 0 and one other value: 1 by habit, 255 by that of others
    if values.size > 2 or (values.size == 2 and values[0] != 0):
        raise Reject(
            "unknown_label", f"values {values[:5].tolist()} in a mask of one organ; 0 and one other expected"
        )
    mask = replace(volume, array=volume.array != 0, unit="mask")
    organs.flags += [flag for flag in volume.flags if flag not in organs.flags]
    _add(organs, label, mask, images)


def _add(organs: Organs, label: str, mask: Volume, images: Images) -> None:
    if label in organs.regions:
        raise Reject("duplicate_organ", f"{label!r} is in two masks of the study")
    own = organs.regions[label]
    for index, part in enumerate(_on_pet(mask, images, organs)):
        if part.any():
            own[index] = Region.of(part)


def _on_pet(mask: Volume, images: Images, organs: Organs) -> Iterable[NDArray[Any]]:
    """The axial slices of a mask on the PET's grid."""
    axial = as_axial(mask)
    pet, structural = axial_grid(images.grid("PT")), axial_grid(images.grid(images.modality))
    if same_grid(axial.grid, pet):
        return axial.array
    if not same_grid(axial.grid, structural):
        shape, spacing = axial.grid.shape, tuple(round(v, 2) for v in axial.spacing_mm)
        message = f"the mask ({shape} voxels of {spacing} mm) lies on neither image's grid"
        raise Reject("grid_mismatch", message)
    if "masks_resampled" not in organs.flags:
        organs.flags.append("masks_resampled")
    return resample_slices(axial, replace(pet, frame=None))


def _add_dicom(organs: Organs, images: DicomImages, table: Mapping[str, str], names: OrganNames) -> None:
    """Add each segment and ROI that is an organ.

    Objects drawn on the PET go before others: the same organ outlined on both images is one mask.
    """
    drawn: dict[str, list[Segmentation | StructureSet]] = {"PT": [], images.modality: []}
    for source in images.scan.segmentations:
        segmentation = Segmentation(source)
        drawn[_drawn_on(segmentation, images)].append(segmentation)
    for source in images.scan.rtstructs:
        structures = StructureSet(source)
        drawn[_drawn_on(structures, images)].append(structures)
    on = next((modality for modality, found in drawn.items() if found), None)
    if on is None:
        raise Reject("missing_mask", "the study has neither RTSTRUCT nor SEG nor masks as NIfTI")
    for masks in drawn[on]:
        with blame(masks.file):
            if isinstance(masks, Segmentation):
                _add_segments(organs, masks, on, images, table, names)
            else:
                _add_rois(organs, masks, on, images, table, names)


def _add_segments(
    organs: Organs,
    masks: Segmentation,
    on: str,
    images: DicomImages,
    table: Mapping[str, str],
    names: OrganNames,
) -> None:
    instances = {frame.instance for frame in images.series[on].frames}
    for segment in masks.segments(images.grid(on), instances):
        cut = ("seg_threshold_0.5",) if segment.threshold is not None else ()
        organs.flags += [flag for flag in (*segment.mask.flags, *cut) if flag not in organs.flags]
        found = _find(segment.label, table, names) or names.by_code(*segment.coded_type)
        label = _known_organ(found, f"segment {segment.number}")
        if not names.ignored(label):
            _add(organs, label, segment.mask, images)


def _add_rois(
    organs: Organs,
    masks: StructureSet,
    on: str,
    images: DicomImages,
    table: Mapping[str, str],
    names: OrganNames,
) -> None:
    for roi in masks.rois(images.grid(on)):
        label = _known_organ(_find(roi.name, table, names), f"ROI {roi.number}")
        organs.lost.update({f"contours left out ({what})": n for what, n in roi.lost.items()})
        organs.flags += [flag for flag in roi.mask.flags if flag not in organs.flags]
        if not names.ignored(label):
            organs.contoured.add(label)
            if set(roi.lost) - {"outside_image"}:
                organs.uncertain.add(label)
            _add(organs, label, roi.mask, images)


def _find(name: str, table: Mapping[str, str], names: OrganNames) -> str | None:
    return names.find(table.get(plain_name(name), name))


def _known_organ(label: str | None, what: str) -> str:
    if label is None:  # its name is free text and stays unsaid
        message = f"{what} has a name that is no known organ; a label table (id,name) may call it one, or background"
        raise Reject("unknown_label", message)
    return label


def _drawn_on(masks: Segmentation | StructureSet, images: DicomImages) -> str:
    """PT or the structural modality: what the object refers to, else the image on whose slices it lies."""
    for modality, series in images.series.items():
        if series.uid in masks.references or masks.references & {f.instance for f in series.frames}:
            return modality
    for modality in images.series:
        if _fits(masks, images.grid(modality)):
            return modality
    raise Reject("grid_mismatch", "the object was drawn on neither of the two images", masks.file.name)


def _fits(masks: Segmentation | StructureSet, grid: Grid) -> bool:
    if isinstance(masks, StructureSet):
        return masks.distance_from_slices(grid) <= GRID_TOLERANCE
    try:
        own = masks.grid()
    except Reject:
        return False
    check_frames(own, grid)
    to_grid = np.linalg.inv(grid.affine) @ own.affine
    return own.shape[1:] == grid.shape[1:] and bool(
        np.abs(to_grid[:2, 3]).max() <= GRID_TOLERANCE
        and np.abs(to_grid[:3, :2] - np.eye(3)[:, :2]).max() < 1e-3
    )
