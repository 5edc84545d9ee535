"""RTSTRUCT contours as masks on an image's grid.

A voxel belongs to a contour when its centre lies inside by the even-odd rule; contours of one ROI on one
slice combine by XOR, so that a contour within a contour is a hole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.tags import digest, items, number, open_dicom, quiet, text, value
from medshards.curate.sample import Reject
from medshards.curate.volumes import Grid, Volume, check_frames

PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest.

    name: as typed by its author (free text, so not in `repr`): match it with `plain_name` against a table.
    mask: bool D×H×W on the grid that was asked for, unit `mask`.
    lost: what could not be drawn, counted: `points`, `open_contours`, `degenerate`, `outside_image`.
    """

    number: int
    name: str = field(repr=False)
    mask: Volume
    lost: Mapping[str, int]


def plain_name(name: str) -> str:
    """A free-text name for look-up: lower case, without blanks and underscores."""
    return "".join(name.lower().replace("_", " ").split())


def roi_names(path: Path) -> dict[int, str]:
    """ROI number → name as typed, in file order. Raises: Reject `not_rtstruct` and those of opening."""
    with quiet():
        return _names(_open(path))


def read_rois(path: Path, grid: Grid) -> Iterator[Roi]:
    """The ROIs of an RTSTRUCT one at a time, as masks on `grid`, in order of ROI number.

    A ROI without any contour comes as an empty mask. Contours on the slice planes of `grid` are expected.

    Raises: Reject `not_rtstruct`, `contour_malformed`, `contour_off_slices` (further than half a slice from
    the nearest slice), `contour_oblique`, `frame_of_reference_differs`.
    """
    with quiet():
        ds = _open(path)
        names = _names(ds)
        frames = {
            _number(item, "ROINumber"): digest(str(value(item, "ReferencedFrameOfReferenceUID") or ""))
            for item in items(ds, "StructureSetROISequence")
        }
        contours = {
            _number(item, "ReferencedROINumber"): items(item, "ContourSequence")
            for item in items(ds, "ROIContourSequence")
        }
    # LPS mm → (column, row, slice)
    to_index = np.asarray(np.linalg.inv(grid.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0]), np.float64)
    for roi in sorted(names):
        check_frames(Grid(grid.shape, grid.affine, frames.get(roi) or None), grid)
        mask = np.zeros(grid.shape, bool)
        lost: Counter[str] = Counter()
        for contour in contours.get(roi, []):
            with quiet():
                kind, points = text(contour, "ContourGeometricType"), _points(contour)
            reason = _draw(mask, kind, points, to_index, roi)
            if reason:
                lost[reason] += 1
        volume = Volume(mask, grid.affine, "RTSTRUCT", "mask", grid.frame)
        yield Roi(roi, names[roi], volume, dict(lost))


def distance_from_slices(path: Path, grid: Grid) -> float:
    """How far the contours lie from the slice planes of `grid`, at most, in slice distances; inf when outside it.

    Tells on which image contours were drawn where the object does not say: there it is 0.
    Raises: Reject `not_rtstruct`, `contour_malformed`.
    """
    to_index = np.asarray(np.linalg.inv(grid.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0]), np.float64)
    worst = 0.0
    with quiet():
        for item in items(_open(path), "ROIContourSequence"):
            for contour in items(item, "ContourSequence"):
                if text(contour, "ContourGeometricType") in PLANAR:
                    plane = to_index[2, :3] @ _points(contour).T + to_index[2, 3]
                    if plane.min() < -0.5 or plane.max() > grid.shape[0] - 0.5:
                        return float("inf")
                    worst = max(worst, float(np.abs(plane - np.round(plane)).max()))
    return worst


def _open(path: Path) -> Dataset:
    ds = open_dicom(path)
    if "StructureSetROISequence" not in ds:
        raise Reject("not_rtstruct", "the file holds no structure set")
    return ds


def _names(ds: Dataset) -> dict[int, str]:
    rois = items(ds, "StructureSetROISequence")
    return {_number(item, "ROINumber"): str(value(item, "ROIName") or "") for item in rois}


def _number(item: Dataset, keyword: str) -> int:
    found = number(item, keyword)
    if found is None:
        raise Reject("contour_malformed", "a ROI without a number")
    return int(found)


def _points(contour: Dataset) -> NDArray[np.float64]:
    """N×3 points in LPS mm."""
    try:
        flat = np.array(value(contour, "ContourData"), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        flat = np.array([np.nan])
    if flat.size % 3 or not np.isfinite(flat).all():
        raise Reject("contour_malformed", "ContourData (3006,0050) is not a list of x, y, z")
    return flat.reshape(-1, 3)


def _draw(
    mask: NDArray[np.bool_], kind: str, points: NDArray[np.float64], to_index: NDArray[np.float64], roi: int
) -> str:
    """XOR one contour into `mask`; a reason when it is no area or lies outside the image."""
    if kind == "POINT":
        return "points"
    if kind not in PLANAR:
        return "open_contours"
    if len(points) < 3:
        return "degenerate"
    column, row, plane = to_index[:3, :3] @ points.T + to_index[:3, 3:]
    k = int(np.floor(plane.mean() + 0.5))
    if np.ptp(plane) > 1:
        raise Reject("contour_oblique", f"a contour of ROI {roi} runs across slices of the image")
    if not 0 <= k < mask.shape[0] or np.abs(plane - k).max() > 0.5 + 1e-3:
        raise Reject(
            "contour_off_slices", f"a contour of ROI {roi} lies more than half a slice from any slice"
        )
    height, width = mask.shape[1:]
    if row.max() < 0 or row.min() > height - 1 or column.max() < 0 or column.min() > width - 1:
        return "outside_image"
    xor_polygon(mask[k], row, column)
    return ""


def xor_polygon(mask: NDArray[np.bool_], row: NDArray[np.float64], column: NDArray[np.float64]) -> None:
    """Flip the pixels of `mask` (H×W) whose centres lie in the polygon, by the even-odd rule.

    An edge counts for a row y when y lies in the half-open interval of its ends, and a crossing for the
    pixels right of it: shared vertices and edges are counted once.
    """
    height, width = mask.shape
    next_row, next_column = np.roll(row, -1), np.roll(column, -1)
    top = max(int(np.ceil(row.min())), 0)
    bottom = min(int(np.floor(row.max())), height - 1)
    for y in range(top, bottom + 1):
        cut = (row <= y) != (next_row <= y)
        part = (y - row[cut]) / (next_row[cut] - row[cut])
        crossings = np.sort(column[cut] + part * (next_column[cut] - column[cut]))
        edges = np.clip(np.ceil(crossings), 0, width).astype(int)  # first centre at or right of the crossing
        for start, stop in zip(edges[0::2], edges[1::2]):
            mask[y, start:stop] ^= True
