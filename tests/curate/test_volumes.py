"""Geometry: resampling against SimpleITK, orientation, grid equality, what is refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medshards.curate.sample import Reject
from medshards.curate.volumes import Grid, Volume, as_axial, collect, resample, resample_slices, same_grid

RNG = np.random.default_rng(7)


def turned(axis: int, degrees: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    a, b = [n for n in range(3) if n != axis]
    matrix[[a, b, a, b], [a, b, b, a]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
    return matrix


def affine(
    spacing: tuple[float, float, float], origin: tuple[float, float, float], turn: float = 0
) -> NDArray:
    """(column, row, slice) spacing in the usual axial order, turned about the head axis."""
    matrix = turned(2, turn) @ np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = origin
    return matrix


def itk(array: NDArray, matrix: NDArray) -> sitk.Image:
    """The same volume for SimpleITK, whose space is LPS."""
    image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    lps = np.diag([-1, -1, 1, 1]) @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


CT = Volume(
    RNG.integers(-1000, 1500, (12, 20, 24)).astype(np.int16),
    affine((1.3, 0.9, 2.5), (20, 14, -9)),
    "CT",
    "hu",
)


@pytest.mark.parametrize("turn", [0.0, 11.0])
@pytest.mark.parametrize(
    ("kind", "outside"), [("hu", -1000.0), ("hu", -1024.0), ("arbitrary", None), ("mask", None)]
)
def test_resampling_agrees_with_simpleitk(turn: float, kind: str, outside: float | None) -> None:
    source = CT if kind == "hu" else Volume(CT.array, CT.affine, "MR", kind)
    if kind == "mask":
        source = Volume(CT.array > 200, CT.affine, "SEG", "mask")
    grid = Grid((9, 13, 11), affine((2.17, 1.93, 3.1), (19.3, 12.8, -11), turn))
    found = resample(source, grid, outside)
    fill = 0.0 if outside is None else outside
    reference = itk(np.zeros(grid.shape, np.float32), grid.affine)
    method = sitk.sitkNearestNeighbor if kind == "mask" else sitk.sitkLinear
    pixel = sitk.sitkUInt8 if kind == "mask" else sitk.sitkFloat32
    expected = sitk.Resample(
        itk(source.array, source.affine), reference, sitk.Transform(), method, fill, pixel
    )
    np.testing.assert_allclose(found.array.astype(float), sitk.GetArrayFromImage(expected), atol=2e-2)
    assert found.array.dtype == (bool if kind == "mask" else np.float32)
    assert found.outside == fill
    if kind != "mask":
        assert (found.array == fill).any()
    else:
        assert found.array.any()


def test_own_grid_gives_the_same_values_in_spite_of_rounding() -> None:
    near = CT.affine.copy()
    near[:3] += 1e-8
    grid = Grid(CT.array.shape, near)
    np.testing.assert_allclose(resample(CT, grid).array, CT.array, atol=1e-2)
    assert resample(CT, grid).outside == -1000


def test_labels_keep_type_and_values() -> None:
    labels = Volume(RNG.integers(0, 40, CT.array.shape).astype(np.uint16), CT.affine, "SEG", "label")
    found = resample(labels, Grid((20, 30, 30), affine((1, 1, 1), (20, 14, -9))))
    assert found.array.dtype == np.uint16
    assert set(np.unique(found.array)) <= set(range(40))


def test_slices_are_the_volume() -> None:
    grid = Grid((9, 13, 11), affine((2.17, 1.93, 3.1), (19.3, 12.8, -11)))
    np.testing.assert_array_equal(np.stack(list(resample_slices(CT, grid))), resample(CT, grid).array)


def test_other_frame_of_reference_is_refused() -> None:
    source = Volume(CT.array, CT.affine, "CT", "hu", frame="a")
    with pytest.raises(Reject, match="frame_of_reference_differs"):
        resample(source, Grid((2, 2, 2), CT.affine, "b"))
    assert resample(source, Grid((2, 2, 2), CT.affine)).frame == "a"


@pytest.mark.parametrize("code", ["LPS", "RAS", "PIR", "ASL", "LSA", "RIP"])
@pytest.mark.parametrize("turn", [0.0, 20.0])
def test_axial_view_of_any_orientation(code: str, turn: float) -> None:
    """Voxels keep their place in space; columns run to the left, rows to the back, slices to the head."""
    image = nib.Nifti1Image(np.asarray(CT.array.T), CT.affine)
    from_ras = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(code)
    )
    other = image.as_reoriented(from_ras)
    matrix = turned(0, turn) @ other.affine
    volume = Volume(np.asarray(other.dataobj).T, matrix, "CT", "hu")
    axial = as_axial(volume)
    assert nib.aff2axcodes(axial.affine) == ("L", "P", "S")
    np.testing.assert_array_equal(axial.array, CT.array)
    np.testing.assert_allclose(axial.affine, turned(0, turn) @ CT.affine, atol=1e-9)


@given(st.floats(0.0, 0.09), st.floats(0.11, 2.0))
@settings(max_examples=20)
def test_grids_are_equal_within_a_tenth_of_a_voxel(near: float, far: float) -> None:
    grid = Grid((5, 6, 7), affine((2, 3, 4), (0, 0, 0)))
    for share, same in ((near, True), (far, False)):
        moved = grid.affine.copy()
        moved[2, 3] += share * 4
        assert same_grid(grid, Grid(grid.shape, moved)) is same
    assert not same_grid(grid, Grid((5, 6, 8), grid.affine))


def test_grids_that_drift_apart_differ() -> None:
    """1 % of spacing is 0.06 voxels over 7 columns and 5 over 500."""
    for columns, same in ((7, True), (500, False)):
        a = Grid((5, 6, columns), affine((1, 1, 1), (0, 0, 0)))
        assert same_grid(a, Grid(a.shape, affine((1.01, 1, 1), (0, 0, 0)))) is same


def test_spacing_is_in_array_order() -> None:
    assert CT.spacing_mm == pytest.approx((2.5, 0.9, 1.3))


def test_collect_chooses_the_type() -> None:
    whole = [np.full((2, 3), n, np.int64) for n in (0, 32767)]
    assert collect(whole, (2, 2, 3)).dtype == np.int16
    over = [whole[0], whole[1] + 1]
    np.testing.assert_array_equal(collect(over, (2, 2, 3))[1], np.full((2, 3), 32768.0))
    assert collect(over, (2, 2, 3)).dtype == np.float32
    assert collect([w.astype(float) for w in whole], (2, 2, 3)).dtype == np.float32
    for wrong in (whole[:1], [*whole, whole[0]], [w.T for w in whole]):
        with pytest.raises(Reject, match="bad_shape"):
            collect(wrong, (2, 2, 3))


@pytest.mark.parametrize(
    ("shape", "matrix", "code"),
    [
        ((40000, 40000, 40000), np.eye(4), "too_large"),
        ((0, 4, 4), np.eye(4), "bad_shape"),
        ((4, 4, 4), np.diag([1.0, 1.0, 0.0, 1.0]), "bad_geometry"),
        ((4, 4, 4), np.full((4, 4), np.nan), "bad_geometry"),
        ((4, 4, 4), np.diag([1.0, 1.0, 1.0, 2.0]), "bad_geometry"),
        ((4, 4, 4), np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "bad_geometry"),
    ],
)
def test_impossible_grids(shape: tuple[int, int, int], matrix: NDArray, code: str) -> None:
    with pytest.raises(Reject) as caught:
        Grid(shape, matrix)
    assert caught.value.code == code
