"""Volumes in patient space: one array, one affine, one convention.

An array is D×H×W (slice, row, column). Its affine takes *(column, row, slice, 1)* to RAS millimetres
(x to the right, y to the front, z to the head of the patient): the affine of the NIfTI standard, so that
`nibabel.Nifti1Image(volume.array.T, volume.affine)` is the same image. Only `spacing_mm` follows the
array: (slice, row, column).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.sample import Reject

MAX_VOXELS = (
    2**29
)  # 1 GiB as int16, a body of 2,048 slices of 512×512; a larger header is taken for a damaged one
GRID_TOLERANCE = 0.1  # voxels; below it two grids are one
# Value of voxels that lie outside the source after resampling. Air for CT, nothing for the rest.
OUTSIDE = {"hu": -1000.0}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # mm, from DICOM's patient coordinates to those of an affine


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel lattice in patient space.

    shape: (slices, rows, columns).
    affine: float64 4×4, (column, row, slice, 1) → RAS mm.
    frame: digest of the DICOM frame of reference, None where the format has none (NIfTI).
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    frame: str | None = None

    def __post_init__(self) -> None:
        check_size(self.shape)
        affine = np.array(self.affine, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or list(affine[3]) != [0, 0, 0, 1]:
            raise Reject("bad_geometry", "the affine is not a finite 4×4 matrix that ends in 0 0 0 1")
        axes = affine[:3, :3]
        lengths = np.linalg.norm(axes, axis=0)
        if lengths.min() <= 0 or abs(np.linalg.det(axes / lengths)) < 0.01:
            raise Reject(
                "bad_geometry", "the affine is singular: two voxel axes coincide or one has no length"
            )
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of voxel centres in mm along (slice, row, column)."""
        column, row, slice_ = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_), float(row), float(column)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Grid:
        """The grid of the `facts` in a record."""
        return cls(tuple(facts["shape"]), np.array(facts["affine"]))

    def facts(self) -> dict[str, Any]:
        """Shape and affine as JSON values, for the record of a sample."""
        return {"shape": list(self.shape), "affine": (self.affine + 0.0).tolist()}  # no -0.0

    def __repr__(self) -> str:
        return f"Grid(shape={self.shape}, spacing_mm={_rounded(self.spacing_mm)})"


@dataclass(frozen=True, eq=False)
class Volume:
    """A D×H×W image, label map or mask in patient space.

    array: int16 or float32 image, integer label map, or bool mask.
    affine: float64 4×4, (column, row, slice, 1) → RAS mm.
    modality: DICOM modality (CT, PT, MR, SEG).
    unit: `hu`, `suvbw` (g/ml), `bqml` (Bq/ml), `arbitrary`, `label`, `mask`, or the lower-case DICOM unit.
    frame: digest of the DICOM frame of reference, None where unknown.
    flags: short codes of what a reader assumed or noticed, in the order of the steps.
    filled: indices of slices that no file held and that were interpolated on request.
    outside: value written where resampling left the source, None when not resampled.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    modality: str
    unit: str
    frame: str | None = None
    flags: tuple[str, ...] = ()
    filled: tuple[int, ...] = ()
    outside: float | None = None

    @property
    def grid(self) -> Grid:
        """The lattice without the values."""
        depth, height, width = self.array.shape
        return Grid((depth, height, width), self.affine, self.frame)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of voxel centres in mm along (slice, row, column)."""
        return self.grid.spacing_mm

    def __repr__(self) -> str:
        return (
            f"Volume({self.modality}, {self.unit}, shape={self.array.shape}, dtype={self.array.dtype}, "
            f"spacing_mm={_rounded(self.spacing_mm)}, flags={self.flags})"
        )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(v, 4) for v in values)


def check_size(shape: Iterable[int]) -> None:
    """Refuse an empty or implausibly large volume before anything is allocated.

    Raises: Reject `bad_shape`, `too_large`.
    """
    sizes = [int(n) for n in shape]
    if len(sizes) != 3 or min(sizes) < 1:
        raise Reject("bad_shape", f"expected three positive sizes (slices, rows, columns), found {sizes}")
    voxels = sizes[0] * sizes[1] * sizes[2]
    if voxels > MAX_VOXELS:
        raise Reject("too_large", f"the header claims {sizes} = {voxels} voxels, more than {MAX_VOXELS}")


def collect(
    slices: Iterable[NDArray[Any]], shape: tuple[int, int, int]
) -> NDArray[np.int16] | NDArray[np.float32]:
    """Fill a D×H×W array from H×W slices, one slice in memory at a time.

    int16 as long as every slice is of an integer type and fits; float32 from the first that does not.
    Raises: Reject `bad_shape` when a slice has another size or their number is not D.
    """
    check_size(shape)
    small = np.iinfo(np.int16)
    array: NDArray[Any] = np.empty(0, np.int16)
    count = 0
    for k, values in enumerate(slices):
        if values.shape != shape[1:] or k >= shape[0]:
            raise Reject(
                "bad_shape", f"slice {k} is {values.shape}, expected {shape[0]} slices of {shape[1:]}"
            )
        fits = values.dtype.kind in "iu" and values.min() >= small.min and values.max() <= small.max
        if k == 0:
            array = np.empty(shape, np.int16 if fits else np.float32)
        elif not fits and array.dtype == np.int16:
            array = array.astype(np.float32)
        array[k] = values
        count = k + 1
    if count != shape[0]:
        raise Reject("bad_shape", f"expected {shape[0]} slices, found {count}")
    return array


def same_grid(a: Grid, b: Grid) -> bool:
    """True when the shapes are equal and all eight corners agree within 0.1 voxel."""
    if a.shape != b.shape:
        return False
    corners = np.array([(i, j, k, 1) for i, j, k in product(*((0, n - 1) for n in reversed(a.shape)))], float)
    to_b = np.linalg.inv(b.affine) @ a.affine @ corners.T
    return bool(np.abs(to_b - corners.T).max() <= GRID_TOLERANCE)


def check_frames(a: Grid, b: Grid) -> None:
    """Refuse two objects of different frames of reference: without a registration they do not match.

    Raises: Reject `frame_of_reference_differs`.
    """
    if a.frame is not None and b.frame is not None and a.frame != b.frame:
        raise Reject(
            "frame_of_reference_differs",
            "the two objects have different frames of reference; a registration would be needed",
        )


def resample_slices(volume: Volume, grid: Grid, outside: float | None = None) -> Iterator[NDArray[Any]]:
    """The slices of `volume` on `grid`, one H×W array at a time.

    Masks and label maps: nearest neighbour, own dtype. Images: linear, float32. A voxel counts as inside
    when its centre lies in the source's outermost voxels (half a voxel beyond the last centre, where
    the edge value is held); elsewhere it gets `outside` (default: −1000 for HU, otherwise 0).
    Raises: Reject `frame_of_reference_differs`.
    """
    check_frames(volume.grid, grid)
    fill = outside_value(volume, outside)
    nearest = volume.unit in ("mask", "label")
    to_source = np.linalg.inv(volume.affine) @ grid.affine  # (i, j, k, 1) there → (i, j, k, 1) here
    from scipy import ndimage  # takes 0.4 s, which most datasets need not

    depth, height, width = grid.shape
    columns, rows = np.arange(width), np.arange(height)[:, None]
    limits = volume.array.shape
    for k in range(depth):
        # coordinates in the source, in array order (slice, row, column)
        at = np.empty((3, height, width))
        inside = np.ones((height, width), bool)
        for axis in range(3):
            c_i, c_j, c_k, origin = to_source[2 - axis]
            at[axis] = c_i * columns + c_j * rows + (c_k * k + origin)
            inside &= (at[axis] > -0.5 - 1e-6) & (at[axis] < limits[axis] - 0.5 + 1e-6)
        if nearest:
            # the small shift settles centres that lie half-way up to rounding error
            index = tuple(
                np.clip(np.floor(at[a] + 0.5 + 1e-6).astype(int), 0, limits[a] - 1) for a in range(3)
            )
            values = volume.array[index]
        else:
            values = ndimage.map_coordinates(
                volume.array, at, output=np.float32, order=1, mode="nearest", prefilter=False
            )
        values[~inside] = fill
        yield values


def resample(volume: Volume, grid: Grid, outside: float | None = None) -> Volume:
    """`volume` on the lattice of `grid` (see `resample_slices`); the outside value is recorded."""
    fill = outside_value(volume, outside)
    dtype = volume.array.dtype if volume.unit in ("mask", "label") else np.float32
    array = np.empty(grid.shape, dtype)
    for k, values in enumerate(resample_slices(volume, grid, fill)):
        array[k] = values
    return replace(
        volume, array=array, affine=grid.affine, frame=grid.frame or volume.frame, filled=(), outside=fill
    )


def outside_value(volume: Volume, outside: float | None = None) -> float:
    """The value that voxels outside `volume` get: `outside`, or the default of its unit."""
    return float(OUTSIDE.get(volume.unit, 0.0) if outside is None else outside)


def as_axial(volume: Volume) -> Volume:
    """Axial slices from feet to head, rows from front to back, columns from the patient's right to left.

    Axes are permuted and flipped to the nearest anatomical axis, never interpolated; the array is a view.
    """
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    order = max(permutations(range(3)), key=lambda p: sum(abs(axes[world, p[world]]) for world in range(3)))
    turned = volume.array.transpose([2 - order[world] for world in (2, 1, 0)])
    # affine columns (i, j, k) now are the axes nearest to left, back, head
    affine = np.column_stack([volume.affine[:, a] for a in order] + [volume.affine[:, 3]])
    depth, height, width = turned.shape
    for world, (sign, count) in enumerate(((-1, width), (-1, height), (1, depth))):
        if affine[world, world] * sign < 0:
            affine[:, 3] += affine[:, world] * (count - 1)
            affine[:, world] *= -1
            turned = np.flip(turned, axis=2 - world)
    filled: tuple[int, ...] = ()
    if volume.filled:
        if order[2] != 2:
            raise Reject(
                "filled_slices", "slices that were filled in cannot be traced through another slice direction"
            )
        same = volume.affine[2, 2] > 0
        filled = tuple(sorted(k if same else depth - 1 - k for k in volume.filled))
    return replace(volume, array=turned, affine=affine, filled=filled)
