"""The frames of one DICOM object: position, rescaling and what tells repeats apart.

A classic object is one frame and its header says everything. In an enhanced (or legacy converted enhanced)
multi-frame object each frame has functional groups of its own, with shared ones behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.kinds import REASONS, mr_contrast
from medshards.curate.formats.dicom.pet_header import PetHeader
from medshards.curate.formats.dicom.tags import Source, digest, items, number, numbers, text, texts, value
from medshards.curate.sample import Reject

MAX_SIDE = 1 << 14  # pixels; a larger header is taken for a damaged one


@dataclass(frozen=True, slots=True)
class RealWorldValues:
    """Stored value → quantity: value · slope + intercept, defined from `first` to `last`.

    unit: UCUM code, e.g. `{SUVbw}g/ml`; "" when it is not one this project knows.
    """

    slope: float
    intercept: float
    first: float
    last: float
    unit: str


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """One slice in a file.

    index: frame number in the file, from 0. position: centre of the first pixel, LPS mm.
    mr_kind: what separates pictures of one MR series. repeat_keys: what separates repeats at one position.
    instance: digest of the SOP instance UID. pet: header of a classic PET slice.
    padding: first and last stored value that stands for no measurement.
    """

    source: Source
    index: int
    position: tuple[float, float, float]
    slope: float
    intercept: float
    contrast: str
    mr_kind: tuple[object, ...]
    repeat_keys: tuple[object, ...]
    instance: str
    slice_spacing: float | None  # mm, as the header says; used for a single slice only
    pet: PetHeader | None
    real_world: RealWorldValues | None
    padding: tuple[int, int] | None

    @property
    def time(self) -> tuple[object, ...]:
        """What differs between the time frames and gates of a PET."""
        _, index, identifier, _, trigger = self.repeat_keys
        return index, identifier, trigger, self.pet.frame_reference if self.pet is not None else None


@dataclass(frozen=True, slots=True)
class Geometry:
    """What frames of one series share; `orientation` as in (0020,0037), `spacing` (row, column) in mm."""

    rows: int
    columns: int
    orientation: tuple[float, ...]
    spacing: tuple[float, float]


class _Groups:
    """Finds the data set that holds an element: itself or a functional group."""

    def __init__(self, ds: Dataset, frame: Dataset | None, shared: dict[str, Dataset]) -> None:
        self._classic = ds if frame is None else None
        self._table = shared if frame is None else {**shared, **functional_groups(frame)}

    def holder(self, keyword: str) -> Dataset:
        return self._classic if self._classic is not None else self._table.get(keyword, _EMPTY)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        return numbers(self.holder(keyword), keyword, count)

    def number(self, keyword: str) -> float | None:
        return number(self.holder(keyword), keyword)


_EMPTY = Dataset()


def functional_groups(item: Dataset) -> dict[str, Dataset]:
    """Keyword → the functional group (first item of its sequence) that holds it."""
    table: dict[str, Dataset] = {}
    for tag in list(item.keys()):
        try:
            element = item[tag]
        except Exception:  # malformed values count as absent
            continue
        if element.VR == "SQ" and len(element.value):
            for inner in list(element.value[0].keys()):
                table.setdefault(keyword_for_tag(inner), element.value[0])
    return table


def frames_of(ds: Dataset, source: Source) -> Iterator[tuple[Frame, Geometry]]:
    """All frames of an image object.

    Raises: Reject `no_geometry`, `frames_missing`, `not_an_image`.
    """
    rows, columns = number(ds, "Rows"), number(ds, "Columns")
    if not rows or not columns or rows > MAX_SIDE or columns > MAX_SIDE:
        raise _reject("not_an_image")
    size = int(rows), int(columns)
    count = int(number(ds, "NumberOfFrames") or 1)
    per_frame = items(ds, "PerFrameFunctionalGroupsSequence")
    shared_items = items(ds, "SharedFunctionalGroupsSequence")
    if not per_frame and not shared_items:
        if count != 1:
            raise _reject("no_geometry")
        yield _frame(ds, _Groups(ds, None, {}), source, 0, size, classic=True)
        return
    if len(per_frame) != count:
        raise _reject("frames_missing")
    shared = functional_groups(shared_items[0]) if shared_items else {}
    for index, item in enumerate(per_frame):
        yield _frame(ds, _Groups(ds, item, shared), source, index, size, classic=False)


def _frame(
    ds: Dataset, groups: _Groups, source: Source, index: int, size: tuple[int, int], classic: bool
) -> tuple[Frame, Geometry]:
    position = groups.numbers("ImagePositionPatient", 3)
    orientation = groups.numbers("ImageOrientationPatient", 6)
    spacing = groups.numbers("PixelSpacing", 2)
    if position is None or orientation is None or spacing is None or not _usable(orientation, spacing):
        raise _reject("no_geometry")
    frame_type = texts(groups.holder("FrameType"), "FrameType")
    image_type = frame_type or texts(ds, "ImageType")
    echo = groups.number("EffectiveEchoTime") or groups.number("EchoTime")
    contrast = mr_contrast(ds, image_type) if text(ds, "Modality") == "MR" else ""
    between = groups.number("SpacingBetweenSlices") or groups.number("SliceThickness")
    frame = Frame(
        source=source,
        index=index,
        position=(position[0], position[1], position[2]),
        slope=_or(groups.number("RescaleSlope"), 1.0),
        intercept=_or(groups.number("RescaleIntercept"), 0.0),
        contrast=contrast,
        mr_kind=(image_type, echo),
        repeat_keys=(
            image_type,
            groups.number("TemporalPositionIndex"),
            groups.number("TemporalPositionIdentifier"),
            groups.number("AcquisitionNumber"),
            groups.number("TriggerTime"),
        ),
        instance=digest(str(value(ds, "SOPInstanceUID") or "")),
        slice_spacing=between if between and between > 0 else None,
        pet=PetHeader.of(ds) if classic and text(ds, "Modality") == "PT" else None,
        real_world=None if classic else _real_world(groups.holder("RealWorldValueSlope")),
        padding=_padding(ds),
    )
    return frame, Geometry(*size, orientation, (spacing[0], spacing[1]))


def _usable(orientation: tuple[float, ...], spacing: tuple[float, ...]) -> bool:
    """Two perpendicular unit vectors and two positive distances."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    unit = abs(np.linalg.norm(row) - 1) < 1e-2 and abs(np.linalg.norm(column) - 1) < 1e-2
    return bool(unit and abs(row @ column) < 1e-2 and min(spacing) > 0)


def _real_world(item: Dataset) -> RealWorldValues | None:
    slope = number(item, "RealWorldValueSlope")
    first = _or(number(item, "RealWorldValueFirstValueMapped"), -np.inf)
    last = _or(number(item, "RealWorldValueLastValueMapped"), np.inf)
    codes = items(item, "MeasurementUnitsCodeSequence")
    unit = text(codes[0], "CodeValue") if codes else ""
    if slope is None:
        return None
    known = {"{SUVBW}G/ML": "{SUVbw}g/ml", "BQ/ML": "Bq/ml"}.get(unit, "")
    return RealWorldValues(slope, _or(number(item, "RealWorldValueIntercept"), 0.0), first, last, known)


def _padding(ds: Dataset) -> tuple[int, int] | None:
    """First and last stored value of padding, by Pixel Padding Value (0028,0120) and Range Limit (0028,0121).

    Either may be written with the sign of the other representation, so it is read by that of the pixels.
    """
    first = number(ds, "PixelPaddingValue")
    if first is None:
        return None
    last = number(ds, "PixelPaddingRangeLimit")
    bits = int(number(ds, "BitsAllocated") or 16)
    ends = [int(v) % (1 << bits) for v in (first, first if last is None else last)]
    if number(ds, "PixelRepresentation") == 1:
        ends = [v - (1 << bits) if v >= 1 << (bits - 1) else v for v in ends]
    return min(ends), max(ends)


def _or(number_: float | None, default: float) -> float:
    return default if number_ is None else number_


def _reject(code: str) -> Reject:
    return Reject(code, REASONS[code])
