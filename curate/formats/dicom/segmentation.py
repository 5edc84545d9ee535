"""DICOM Segmentation objects as masks: one per segment, every frame placed by its position.

Frames of a SEG are sparse and in no order, and segments may overlap. BINARY frames are packed bit by bit across frame
borders; FRACTIONAL ones become masks at 0.5 of their maximum; the pixels of a LABELMAP (SOP class …66.7) are numbers of
segments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.frames import functional_groups
from medshards.curate.formats.dicom.pixels import stored_frames
from medshards.curate.formats.dicom.tags import (
    Source,
    digest,
    items,
    number,
    numbers,
    quiet,
    referenced,
    text,
    value,
)
from medshards.curate.formats.files import blame
from medshards.curate.masks import by_id
from medshards.curate.sample import Region, Reject
from medshards.curate.volumes import GRID_TOLERANCE, LPS_TO_RAS, Grid, Volume, check_frames

THRESHOLD = 0.5  # of a fractional segment


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment of a SEG object.

    label: SegmentLabel as typed (free text, so not in `repr`). coded_type: (scheme, code) of the property
    type, ("", "") when absent. mask: bool D×H×W, unit `mask`.
    threshold: of the maximum, when the object was fractional; None for a binary one.
    """

    number: int
    label: str = field(repr=False)
    coded_type: tuple[str, str] = field(repr=False)
    mask: Volume
    threshold: float | None


@dataclass(frozen=True, eq=False)
class _Frame:
    index: int
    segment: int | None  # None: the pixels of a label map say it
    affine: NDArray[np.float64]  # (column, row, 0, 1) → RAS mm of the plane; column 2 is the unit normal


class Segmentation:
    """A SEG object, read once.

    references: digests of the series and image instances that it says it was drawn on.
    Raises: Reject `not_seg`, `seg_type_unsupported`, `no_geometry`, `frames_missing`, `segment_unknown`.
    """

    def __init__(self, source: Source) -> None:
        self.file = source.file
        with blame(self.file), quiet():
            ds = source.open()
            self._source = Source(source.file, ds)
            self._kind, self._lowest = _levels(ds)
            self._frames = list(_frames(ds, self._kind))
            self._size = int(number(ds, "Rows") or 0), int(number(ds, "Columns") or 0)
            described = {int(number(i, "SegmentNumber") or 0): i for i in items(ds, "SegmentSequence")}
            self._descriptions = {n: (_label(item), _coded_type(item)) for n, item in described.items()}
            self._background = {0, int(number(ds, "PixelPaddingValue") or 0)} - set(described)
            self._reference = digest(str(value(ds, "FrameOfReferenceUID") or "")) or None
            self._spacing = _slice_spacing(ds)
            self.references = frozenset(referenced(ds))
            self._instances = _instances(ds)
            if {f.segment for f in self._frames if f.segment is not None} - set(described):
                message = "a frame refers to a segment that the object does not describe"
                raise Reject("segment_unknown", message)

    def grid(self) -> Grid:
        """The object's own lattice: regular planes from the lowest to the highest frame.

        Raises: Reject `no_geometry`, `irregular_spacing`.
        """
        with blame(self.file):
            return _own_grid(self._frames, *self._size, self._spacing, self._reference)

    def segments(
        self, grid: Grid | None = None, instances: Collection[str] | None = None
    ) -> Iterator[Segment]:
        """The segments one at a time, in order of segment number; the pixels are decoded once.

        grid: lattice of the image; each frame must lie on one of its slices. Without it the object's own.
        instances: of the segmented series, if known; a reference to an instance that is not among them puts
            `referenced_image_missing` into the flags of every mask.
        Raises: Reject `grid_mismatch`, `frame_of_reference_differs`, `no_pixel_data`, `segment_unknown`,
        `segment_below_threshold` (a fractional segment that nowhere reaches one half), and those of `grid`.
        """
        missing = instances is not None and not self._instances <= set(instances)
        flags = ("referenced_image_missing",) if missing else ()
        if grid is None:
            grid = self.grid()
        else:
            with blame(self.file):
                check_frames(Grid(grid.shape, grid.affine, self._reference), grid)
        with blame(self.file):
            regions = self._regions([_slice_of(f, grid, *self._size) for f in self._frames])
        for n, (label, coded) in sorted(self._descriptions.items()):
            mask = np.zeros(grid.shape, bool)
            for index, region in regions.get(n, []):
                mask[index][region.window()] |= region.crop
            volume = Volume(mask, grid.affine, "SEG", "mask", grid.frame, flags)
            yield Segment(n, label, coded, volume, THRESHOLD if self._kind == "FRACTIONAL" else None)

    def _regions(self, slices: list[int]) -> dict[int, list[tuple[int, Region]]]:
        """(slice, region) of each segment, in order of frames."""
        found: dict[int, list[tuple[int, Region]]] = defaultdict(list)
        below: set[int] = set()
        stored = stored_frames(self._source, [f.index for f in self._frames])
        for frame, index, values in zip(self._frames, slices, stored, strict=True):
            if frame.segment is None:
                for n, region in by_id(values).items():
                    if n not in self._background:
                        found[n].append((index, region))
            elif (mask := values >= self._lowest).any():
                found[frame.segment].append((index, Region.of(mask)))
            elif values.any():
                below.add(frame.segment)
        if unknown := found.keys() - self._descriptions.keys():
            message = f"pixels of segment {min(unknown)}, which the object does not describe"
            raise Reject("segment_unknown", message)
        if nowhere := below - found.keys():
            message = f"segment {min(nowhere)} is fractional and nowhere reaches one half of its maximum"
            raise Reject("segment_below_threshold", message)
        return found


def _levels(ds: Dataset) -> tuple[str, float]:
    """SegmentationType, and the lowest stored value of a mask."""
    kind = text(ds, "SegmentationType")
    if not kind:
        raise Reject("not_seg", "the file is no DICOM segmentation object")
    if kind in ("BINARY", "LABELMAP"):
        return kind, 1.0
    maximum = number(ds, "MaximumFractionalValue")
    if kind != "FRACTIONAL" or maximum is None or maximum <= 0:
        raise Reject(
            "seg_type_unsupported",
            "SegmentationType is neither BINARY, LABELMAP nor FRACTIONAL with its maximum (0062,000E)",
        )
    return kind, maximum * THRESHOLD


def _frames(ds: Dataset, kind: str) -> Iterator[_Frame]:
    shared_items = items(ds, "SharedFunctionalGroupsSequence")
    shared = functional_groups(shared_items[0]) if shared_items else {}
    per_frame = items(ds, "PerFrameFunctionalGroupsSequence")
    if not per_frame or len(per_frame) != int(number(ds, "NumberOfFrames") or 1):
        raise Reject("frames_missing", "NumberOfFrames and the per-frame functional groups do not agree")
    for index, item in enumerate(per_frame):
        table = {**shared, **functional_groups(item)}
        empty = Dataset()
        segment = number(table.get("ReferencedSegmentNumber", empty), "ReferencedSegmentNumber")
        position = numbers(table.get("ImagePositionPatient", empty), "ImagePositionPatient", 3)
        orientation = numbers(table.get("ImageOrientationPatient", empty), "ImageOrientationPatient", 6)
        spacing = numbers(table.get("PixelSpacing", empty), "PixelSpacing", 2)
        if kind == "LABELMAP":
            segment = None
        elif segment is None:
            raise Reject("no_geometry", f"frame {index + 1} does not say of which segment it is")
        if position is None or orientation is None or spacing is None or min(spacing) <= 0:
            raise Reject("no_geometry", f"frame {index + 1} has no position, orientation or spacing")
        affine = np.eye(4)
        row, column = np.array(orientation[:3]), np.array(orientation[3:])
        affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
        affine[:3, 2], affine[:3, 3] = np.cross(row, column), position
        yield _Frame(index, None if segment is None else int(segment), LPS_TO_RAS @ affine)


def _slice_of(frame: _Frame, grid: Grid, rows: int, columns: int) -> int:
    """The slice of `grid` on which a frame lies: all four corners within 0.1 voxel."""
    corners = np.array([(i, j, 0, 1) for i in (0, columns - 1) for j in (0, rows - 1)], float).T
    there = np.linalg.inv(grid.affine) @ frame.affine @ corners
    k = int(np.floor(there[2].mean() + 0.5))
    on_grid = (
        np.abs(there[:2] - corners[:2]).max() <= GRID_TOLERANCE
        and np.abs(there[2] - k).max() <= GRID_TOLERANCE
    )
    if (rows, columns) != grid.shape[1:] or not 0 <= k < grid.shape[0] or not on_grid:
        raise Reject(
            "grid_mismatch",
            f"frame {frame.index + 1} of the segmentation does not lie on a slice of the image; "
            "read it on its own grid and resample",
        )
    return k


def _own_grid(
    frames: list[_Frame], rows: int, columns: int, stated: float | None, reference: str | None
) -> Grid:
    """Regular lattice through all frames; planes without a frame are empty."""
    first = frames[0].affine
    normal = first[:3, 2]
    if any(np.abs(f.affine[:3, :3] - first[:3, :3]).max() > 1e-3 for f in frames):
        raise Reject(
            "no_geometry", "frames differ in orientation or pixel spacing; give the grid of the image"
        )
    heights = np.array([f.affine[:3, 3] @ normal for f in frames])
    steps = np.diff(np.unique(np.round(heights, 3)))
    distance = stated if stated else float(steps[steps > 1e-2].min()) if (steps > 1e-2).any() else 1.0
    planes = (heights - heights.min()) / distance
    if np.abs(planes - np.round(planes)).max() > GRID_TOLERANCE:
        raise Reject(
            "irregular_spacing", "the frames do not lie on regular planes; give the grid of the image"
        )
    affine = frames[int(heights.argmin())].affine.copy()
    affine[:3, 2] = normal * distance
    return Grid((round(planes.max()) + 1, rows, columns), affine, reference)


def _slice_spacing(ds: Dataset) -> float | None:
    shared_items = items(ds, "SharedFunctionalGroupsSequence")
    table = functional_groups(shared_items[0]) if shared_items else {}
    found = number(table.get("SpacingBetweenSlices", Dataset()), "SpacingBetweenSlices")
    return found if found and found > 0 else None


def _instances(ds: Dataset) -> set[str]:
    """Digests of the image instances that the object names as its source."""
    return {
        digest(str(value(instance, "ReferencedSOPInstanceUID") or ""))
        for series in items(ds, "ReferencedSeriesSequence")
        for instance in items(series, "ReferencedInstanceSequence")
    }


def _label(item: Dataset) -> str:
    return str(value(item, "SegmentLabel") or "")


def _coded_type(item: Dataset) -> tuple[str, str]:
    codes = items(item, "SegmentedPropertyTypeCodeSequence")
    return (text(codes[0], "CodingSchemeDesignator"), text(codes[0], "CodeValue")) if codes else ("", "")
