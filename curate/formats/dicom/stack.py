"""From a DICOM series to a volume: slice order, gaps, pixels, SUV.

Slices are ordered by their position along the normal of the image plane; instance numbers, file names and
SliceLocation are not looked at. Pixels are decoded one slice at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.dicom.frames import Frame
from medshards.curate.formats.dicom.pixels import stored_frames
from medshards.curate.formats.dicom.series import Series
from medshards.curate.formats.dicom.suv import SuvScale, check_suv_range, suv_scale
from medshards.curate.sample import Reject
from medshards.curate.volumes import LPS_TO_RAS, OUTSIDE, Grid, Volume, collect

SHEAR = 0.1  # mm; positions that stray further from the normal belong to a tilted gantry
REPEAT = 0.01  # mm; slices nearer than this stand at one position


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of a series in order along the normal, on a regular lattice.

    frames: one a slice; None where no file holds the slice and it is to be interpolated.
    """

    series: Series
    frames: tuple[Frame | None, ...] = field(repr=False)
    grid: Grid
    flags: tuple[str, ...]

    @property
    def filled(self) -> tuple[int, ...]:
        """Indices of the slices that no file holds."""
        return tuple(k for k, frame in enumerate(self.frames) if frame is None)


def stack(series: Series, fill_gaps: bool = False) -> Stack:
    """Order the slices and check that they form a lattice. Decodes pixels only where positions repeat.

    The slice distance is the median of the differences (the lower one when their number is even, so that
    it is a distance that occurs). Deviations up to max(0.1 mm, 5 %) are accepted. Missing slices are
    refused, or with `fill_gaps` interpolated linearly on reading and listed in `filled`.

    Raises: Reject `gantry_tilt`, `duplicate_positions`, `slice_gap`, `irregular_spacing`, `too_large`.
    """
    flags: list[str] = []
    row, column = np.array(series.orientation[:3]), np.array(series.orientation[3:])
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    frames = sorted(series.frames, key=lambda f: float(np.dot(f.position, normal)))
    positions = np.array([f.position for f in frames])
    heights = positions @ normal
    across = positions - np.outer(heights, normal)
    stray = float(np.linalg.norm(across - across[0], axis=1).max())
    if stray > SHEAR:
        raise Reject(
            "gantry_tilt", f"slices are displaced by {stray:.1f} mm within their plane (tilted gantry)"
        )
    keep = _without_repeats(frames, heights)
    if len(keep) < len(frames):
        flags.append("duplicate_slices_dropped")
        frames, heights = [frames[n] for n in keep], heights[keep]
    distance, steps, more = _steps(heights, frames[0].slice_spacing)
    flags += more
    slots: list[Frame | None] = [frames[0]]
    for frame, step in zip(frames[1:], steps):
        slots += [None] * (step - 1) + [frame]
    missing = slots.count(None)
    if missing and not fill_gaps:
        raise Reject(
            "slice_gap", f"{missing} of {len(slots)} slices are missing (slice distance {distance:.2f} mm)"
        )
    if missing:
        flags.append("gaps_filled")
    affine = np.eye(4)
    affine[:3, 0] = row * series.spacing[1]
    affine[:3, 1] = column * series.spacing[0]
    affine[:3, 2] = normal * distance
    affine[:3, 3] = frames[0].position
    grid = Grid(
        (len(slots), series.rows, series.columns), LPS_TO_RAS @ affine, series.frame_of_reference or None
    )
    return Stack(series, tuple(slots), grid, tuple(flags))


def _steps(heights: NDArray[np.float64], stated: float | None) -> tuple[float, list[int], list[str]]:
    """Slice distance in mm, number of distances from each slice to the next, flags."""
    differences = np.diff(heights)
    if not len(differences):
        return (
            (stated, [], ["single_slice"]) if stated else (1.0, [], ["single_slice", "slice_spacing_unknown"])
        )
    distance = float(np.sort(differences)[(len(differences) - 1) // 2])
    tolerance = max(0.1, 0.05 * distance)
    steps = [max(1, round(d / distance)) for d in differences]
    worst = max(abs(d - n * distance) / n for d, n in zip(differences, steps))
    drift = np.abs(heights - heights[0] - distance * np.cumsum([0, *steps])).max()
    if worst > tolerance or drift > distance / 2:
        raise Reject(
            "irregular_spacing",
            f"slice distances vary from {differences.min():.2f} to {differences.max():.2f} mm",
        )
    uneven = max(abs(d - n * distance) for d, n in zip(differences, steps)) > 1e-3
    return distance, steps, ["uneven_spacing"] if uneven else []


def _without_repeats(frames: list[Frame], heights: NDArray[np.float64]) -> list[int]:
    """Indices of the frames to keep: one of several identical slices at a position."""
    keep = [0]
    for n in range(1, len(frames)):
        if heights[n] - heights[keep[-1]] >= REPEAT:
            keep.append(n)
            continue
        (first,), (second,) = _decoded([frames[keep[-1]]]), _decoded([frames[n]])
        same_scale = (frames[n].slope, frames[n].intercept) == (
            frames[keep[-1]].slope,
            frames[keep[-1]].intercept,
        )
        if not (same_scale and np.array_equal(first, second)):
            raise Reject(
                "duplicate_positions",
                "different pictures at one position (time points, echoes or reconstructions in one series)",
                frames[n].source.file.name,
            )
    return keep


def iter_slices(ordered: Stack) -> Iterator[NDArray[Any]]:
    """Rescaled slices in order, H×W: int64 where slope and intercept are whole numbers, else float32.

    Padding (0028,0120) is no measurement: it becomes −1000 HU, or 0 in other images.
    Raises: Reject `no_pixel_data`, `size_mismatch`.
    """
    yield from _filled(ordered, ([f.slope, f.intercept] for f in ordered.frames if f is not None))


def _filled(ordered: Stack, scales: Any) -> Iterator[NDArray[Any]]:
    """Scaled slices of all slots; missing ones are interpolated between their neighbours."""
    present = [k for k, frame in enumerate(ordered.frames) if frame is not None]
    size = ordered.grid.shape[1:]
    before: NDArray[Any] | None = None
    last = -1
    frames = [frame for frame in ordered.frames if frame is not None]
    nothing = OUTSIDE["hu"] if ordered.series.modality == "CT" else 0.0
    for k, frame, values, (slope, intercept) in zip(present, frames, _decoded(frames), scales):
        if values.shape != size:
            message = f"slice {k} is {values.shape}, its header says {size}"
            raise Reject("size_mismatch", message, frame.source.file.name)
        after = _scaled(values, float(slope), float(intercept))
        if frame.padding is not None:
            after[(values >= frame.padding[0]) & (values <= frame.padding[1])] = nothing
        for gap in range(last + 1, k):
            assert before is not None  # the first and the last slot always have a frame
            part = (gap - last) / (k - last)
            yield (before * (1 - part) + after * part).astype(np.float32)
        yield after
        before, last = after, k


def _scaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    if stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        return stored.astype(np.int64) * int(slope) + int(intercept)
    return (stored * slope + intercept).astype(np.float32)


def _decoded(frames: list[Frame]) -> Iterator[NDArray[Any]]:
    """Stored values of frames, one at a time; a file that holds several in a row is opened once."""
    for source, run in groupby(frames, key=lambda f: f.source):
        yield from stored_frames(source, [frame.index for frame in run])


def read_volume(series: Series, fill_gaps: bool = False) -> Volume:
    """The rescaled image as it is stored: HU for CT, `arbitrary` for MR, the header's own unit for PET.

    int16 where every value is whole and fits, else float32. For SUV see `read_suv`.
    Raises: those of `stack` and `iter_slices`.
    """
    ordered = stack(series, fill_gaps)
    unit = {"CT": "hu", "MR": "arbitrary"}.get(series.modality, series.units.lower() or "unknown")
    return _volume(ordered, iter_slices(ordered), unit, ordered.flags)


def _volume(ordered: Stack, slices: Iterator[NDArray[Any]], unit: str, flags: tuple[str, ...]) -> Volume:
    grid = ordered.grid
    array = collect(slices, grid.shape)
    return Volume(array, grid.affine, ordered.series.modality, unit, grid.frame, flags, ordered.filled)


def read_suv(series: Series, fill_gaps: bool = False, without_weight: str = "refuse") -> Volume:
    """A PET series as SUVbw in g/ml, float32 D×H×W; `suv_reference:<how>` and all flags in `flags`.

    without_weight: what to do when the patient's weight is missing, so that no SUV exists:
        "refuse", or "bqml" for the activity in Bq/ml (`unit` says which it is).
    Raises: Reject `not_pet`, `not_suv` (numbers that no SUV can be), `enhanced_pet_unsupported`,
    `outside_mapped_range`, those of `suv.suv_scale`, `stack` and `iter_slices`.
    """
    ordered = stack(series, fill_gaps)
    try:
        slices, flags = suv_slices(ordered)
    except Reject as reject:
        if reject.code != "weight_missing" or without_weight != "bqml" or series.units != "BQML":
            raise
        flags = (*ordered.flags, "weight_missing")
        return _as_float(_volume(ordered, iter_slices(ordered), "bqml", flags))
    volume = _as_float(_volume(ordered, slices, "suvbw", flags))
    check_suv_range(volume.array)
    return volume


def _as_float(volume: Volume) -> Volume:
    return replace(volume, array=volume.array.astype(np.float32, copy=False))


def suv_slices(ordered: Stack) -> tuple[Iterator[NDArray[np.float32]], tuple[str, ...]]:
    """SUVbw slices in order, and the flags, for a converter that holds one slice at a time.

    Headers are judged at once, so a series without SUV is refused before any pixel is read.
    Raises: as `read_suv`.
    """
    frames = [frame for frame in ordered.frames if frame is not None]
    if ordered.series.modality != "PT":
        raise Reject("not_pet", "SUV is asked of a series that is not PET")
    mapped = [f.real_world for f in frames if f.real_world is not None and f.real_world.unit == "{SUVbw}g/ml"]
    if len(mapped) == len(frames):
        scales = [[m.slope, m.intercept] for m in mapped]
        flags = (*ordered.flags, "suv_reference:real_world_value_map")
        return _in_range(ordered, frames, _filled(ordered, scales)), flags
    headers = [frame.pet for frame in frames if frame.pet is not None]
    if len(headers) < len(frames):
        raise Reject(
            "enhanced_pet_unsupported",
            "enhanced PET (SOP class …4.1.1.130) and legacy converted enhanced PET (…4.1.1.128.1) become SUV "
            "only by a Real World Value Mapping in {SUVbw}g/ml; give the classic PET series (…4.1.1.128)",
        )
    scale: SuvScale = suv_scale(headers)
    scales = [[frame.slope * factor, 0.0] for frame, factor in zip(frames, scale.factors)]
    flags = (*ordered.flags, f"suv_reference:{scale.reference}", *scale.flags)
    return (values.astype(np.float32) for values in _filled(ordered, scales)), flags


def _in_range(
    ordered: Stack, frames: list[Frame], slices: Iterator[NDArray[Any]]
) -> Iterator[NDArray[np.float32]]:
    """Slices of a real world value map, refused where a stored value lies outside the mapped range."""
    limits = iter(frames)
    for slot, values in zip(ordered.frames, slices):
        if slot is not None and (mapping := next(limits).real_world) is not None:
            ends = [mapping.first * mapping.slope, mapping.last * mapping.slope]
            low, high = min(ends) + mapping.intercept, max(ends) + mapping.intercept
            slack = abs(mapping.slope) / 2
            if values.min() < low - slack or values.max() > high + slack:
                raise Reject(
                    "outside_mapped_range",
                    "stored values lie outside their Real World Value map",
                )
        yield values.astype(np.float32)
