"""RTSTRUCT contours as masks on an image's grid.

A voxel belongs to a contour when its centre lies inside by the even-odd rule. Contours of one ROI in one plane combine
as DICOM PS3.3 C.8.8.6 says: CLOSED_PLANAR ones are united (a hole is a keyhole in its contour), CLOSEDPLANAR_XOR ones
by XOR. Contours of different planes are never combined: a slice is drawn by the plane nearest to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.tags import Source, digest, items, number, quiet, referenced, text, value
from medshards.curate.formats.files import blame
from medshards.curate.sample import Reject
from medshards.curate.volumes import LPS_TO_RAS, Grid, Volume, check_frames

PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
SAME_PLANE = 0.01  # slice distances; contours nearer than this lie in one plane
SAME_POINT = 3  # decimals of mm to which the points of equal contours agree


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest.

    name: as typed by its author (free text, so not in `repr`): match it with `plain_name` against a table.
    mask: bool D×H×W on the grid that was asked for, unit `mask`; flags `contours_between_slices` (planes further from a
        slice than another one were not drawn) and `inner_contours_filled` (a CLOSED_PLANAR contour inside another:
        the standard unites them, though the author may have meant a hole).
    lost: what could not be drawn, counted: `points`, `open_contours`, `degenerate`, `outside_image`.
    """

    number: int
    name: str = field(repr=False)
    mask: Volume
    lost: Mapping[str, int]


def plain_name(name: str) -> str:
    """A free-text name for look-up: lower case, without blanks and underscores."""
    return "".join(name.lower().replace("_", " ").split())


class StructureSet:
    """An RTSTRUCT object, read once.

    names: ROI number → name as typed, in file order. references: digests of the series and image instances that it says
    it was drawn on. Raises: Reject `not_rtstruct`, `contour_malformed`, and those of opening.
    """

    def __init__(self, source: Source) -> None:
        self.file = source.file
        with blame(self.file), quiet():
            ds = source.open()
            if "StructureSetROISequence" not in ds:
                raise Reject("not_rtstruct", "the file holds no structure set")
            rois = items(ds, "StructureSetROISequence")
            self.names = {_number(item, "ROINumber"): str(value(item, "ROIName") or "") for item in rois}
            self.references = frozenset(referenced(ds))
            self._frames = {
                _number(item, "ROINumber"): digest(str(value(item, "ReferencedFrameOfReferenceUID") or ""))
                for item in rois
            }
            self._contours: dict[int, list[_Contour]] = defaultdict(list)
            for item in items(ds, "ROIContourSequence"):
                self._contours[_number(item, "ReferencedROINumber")] += [
                    _Contour(text(contour, "ContourGeometricType"), _points(contour))
                    for contour in items(item, "ContourSequence")
                ]

    def rois(self, grid: Grid) -> Iterator[Roi]:
        """The ROIs one at a time, as masks on `grid`, in order of ROI number.

        A ROI without any contour comes as an empty mask. Contours on the slice planes of `grid` are expected.
        Raises: Reject `contour_off_slices` (further than half a slice from the nearest slice), `contour_oblique`,
        `frame_of_reference_differs`.
        """
        for roi in sorted(self.names):
            with blame(self.file):
                check_frames(Grid(grid.shape, grid.affine, self._frames.get(roi) or None), grid)
                mask, flags, lost = _draw(self._contours.get(roi, []), grid, roi)
            volume = Volume(mask, grid.affine, "RTSTRUCT", "mask", grid.frame, flags)
            yield Roi(roi, self.names[roi], volume, lost)

    def distance_from_slices(self, grid: Grid) -> float:
        """How far the contours lie from the slice planes of `grid`, at most, in slice distances; inf when outside it.

        Tells on which image contours were drawn where the object does not say: there it is 0.
        """
        to_index = _to_index(grid)
        worst = 0.0
        for contour in (c for contours in self._contours.values() for c in contours if c.kind in PLANAR):
            plane = to_index[2, :3] @ contour.points.T + to_index[2, 3]
            if plane.min() < -0.5 or plane.max() > grid.shape[0] - 0.5:
                return float("inf")
            worst = max(worst, float(np.abs(plane - np.round(plane)).max()))
        return worst


@dataclass(frozen=True, eq=False)
class _Contour:
    """kind: ContourGeometricType (3006,0042). points: N×3, LPS mm."""

    kind: str
    points: NDArray[np.float64]

    @property
    def same(self) -> tuple[object, ...]:
        """Equal for equal contours, whatever their first point and direction."""
        return self.kind, *sorted(map(tuple, np.round(self.points, SAME_POINT).tolist()))


def _to_index(grid: Grid) -> NDArray[np.float64]:
    """LPS mm → (column, row, slice)."""
    return np.asarray(np.linalg.inv(grid.affine) @ LPS_TO_RAS, np.float64)


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
    contours: list[_Contour], grid: Grid, roi: int
) -> tuple[NDArray[np.bool_], tuple[str, ...], dict[str, int]]:
    """Mask of one ROI (bool D×H×W), flags, and what is no area or lies outside the image, counted."""
    mask = np.zeros(grid.shape, bool)
    lost: Counter[str] = Counter()
    planes: dict[int, dict[int, list[_Contour]]] = defaultdict(lambda: defaultdict(list))
    to_index = _to_index(grid)
    for contour in {c.same: c for c in contours}.values():
        if contour.kind not in PLANAR or len(contour.points) < 3:
            reason = {"POINT": "points"}.get(contour.kind, "open_contours")
            lost["degenerate" if contour.kind in PLANAR else reason] += 1
            continue
        column, row, height = _indices(contour, to_index)
        slice_, plane = _place(height, grid.shape[0], roi)
        if (
            row.max() < 0
            or row.min() > grid.shape[1] - 1
            or column.max() < 0
            or column.min() > grid.shape[2] - 1
        ):
            lost["outside_image"] += 1
            continue
        planes[slice_][round(plane / SAME_PLANE)].append(contour)
    flags: set[str] = set()
    for slice_, found in planes.items():
        nearest = min(found, key=lambda plane: (abs(plane * SAME_PLANE - slice_), plane))
        if len(found) > 1:
            flags.add("contours_between_slices")
        if _fill(mask[slice_], found[nearest], to_index):
            flags.add("inner_contours_filled")
    return mask, tuple(sorted(flags)), dict(lost)


def _indices(contour: _Contour, to_index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns, rows and slices (3×N) of a contour's points."""
    return to_index[:3, :3] @ contour.points.T + to_index[:3, 3:]


def _place(height: NDArray[np.float64], slices: int, roi: int) -> tuple[int, float]:
    """The nearest slice, and where the plane of a contour lies in slice distances."""
    if np.ptp(height) > 1:
        raise Reject("contour_oblique", f"a contour of ROI {roi} runs across slices of the image")
    plane = float(height.mean())
    nearest = int(np.floor(plane + 0.5))
    if not 0 <= nearest < slices or np.abs(height - nearest).max() > 0.5 + 1e-3:
        message = f"a contour of ROI {roi} lies more than half a slice from any slice"
        raise Reject("contour_off_slices", message)
    return nearest, plane


def _fill(mask: NDArray[np.bool_], contours: list[_Contour], to_index: NDArray[np.float64]) -> bool:
    """Draw the contours of one plane into `mask` (H×W); True when a CLOSED_PLANAR one lies inside the others."""
    exclusive = np.zeros_like(mask)
    inside = False
    for contour in sorted(contours, key=lambda c: -float(np.ptp(c.points, axis=0).sum())):
        column, row, _ = _indices(contour, to_index)
        if contour.kind == "CLOSEDPLANAR_XOR":
            xor_polygon(exclusive, row, column)
            continue
        area = np.zeros_like(mask)
        xor_polygon(area, row, column)
        inside |= bool(area.any() and mask[area].all())
        mask |= area
    mask |= exclusive
    return inside


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
