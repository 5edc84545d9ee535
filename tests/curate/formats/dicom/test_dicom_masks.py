"""RTSTRUCT contours and SEG frames as masks."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.rtstruct import StructureSet, plain_name, xor_polygon
from medshards.curate.formats.dicom.stack import read_volume, stack
from medshards.curate.formats.dicom.tags import Source
from medshards.curate.formats.volumes import nifti
from medshards.curate.sample import Reject
from medshards.curate.volumes import Grid, resample, same_grid
from tests.curate.dicom_edits import Edit, copies, dicom_files, file, read, rois, scan, segments


@pytest.fixture(scope="module")
def patient(samples: Path) -> Path:
    return samples / "pet_dicom" / "soft_tissue_sarcoma" / "sts_images" / "STS_002"


# Grid of the edited RTSTRUCTs: 4 slices of 10×12, 1 mm pixels, 2 mm slices, origin at LPS (0, 0, 0)
GRID = Grid((4, 10, 12), np.diag([-1.0, -1.0, 2.0, 1.0]))


def square(x0: float, x1: float, y0: float, y1: float, z: float, kind: str = "CLOSED_PLANAR") -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType = kind
    contour.ContourData = [x0, y0, z, x1, y0, z, x1, y1, z, x0, y1, z]
    return contour


def rtstruct(patient: Path, folder: Path, contours: list[Dataset]) -> Path:
    """The patient's RTSTRUCT with other contours."""

    def edit(ds: Dataset) -> None:
        ds.ROIContourSequence[0].ContourSequence = contours

    return copies([patient / "PET" / "dicom" / "mask" / "RS.dcm"], folder, edit)[0]


def drawn(patient: Path, folder: Path, *contours: Dataset) -> tuple[NDArray[np.bool_], dict[str, int]]:
    (roi,) = rois(rtstruct(patient, folder, list(contours)), GRID)
    return roi.mask.array, dict(roi.lost)


def test_rtstruct_equals_the_authors_nifti_mask(patient: Path) -> None:
    """Voxel by voxel, in every modality found."""
    compared = 0
    for path in sorted(patient.glob("*/dicom/mask/RS.dcm")):
        modality = path.parents[2]
        image = stack(scan(dicom_files(modality / "dicom" / "image")).only())
        expected = nifti.read_labels(file(modality / "nifti" / "mask" / "mask.nii.gz"))
        (roi,) = rois(path, image.grid)
        assert same_grid(roi.mask.grid, expected.grid)
        np.testing.assert_array_equal(roi.mask.array, expected.array > 0, err_msg=modality.name)
        assert roi.mask.array.any()
        assert plain_name(roi.name) == plain_name(f"gtv mass {modality.name}")
        assert StructureSet(Source(file(path))).names == {1: roi.name}
        compared += 1
    assert compared


def test_reference_object_rtstruct_lies_inside_its_mask(samples: Path) -> None:
    """The outline is known to be a little smaller than the mask, on 16 slices."""
    folder = samples / "pet_dicom" / "oncoray_suv_dro" / "DRO" / "DRO_0_0"
    grid = stack(scan(dicom_files(folder / "PT")).only()).grid
    found = list(rois(next((folder / "RS").iterdir()), grid))
    mask = nifti.read_labels(file(folder / "mask" / "DRO_mask.nii.gz")).array > 0
    union = np.any([roi.mask.array for roi in found], axis=0)
    assert int(union.any(axis=(1, 2)).sum()) == 16
    assert (union & mask).sum() > 0.95 * union.sum()


def test_voxel_centres_decide(patient: Path, tmp_path: Path) -> None:
    """A square from 1.5 to 4.5 holds the centres 2, 3, 4; it lies on the slice at 2 mm."""
    mask, lost = drawn(patient, tmp_path, square(1.5, 4.5, 2.5, 6.5, 2.0))
    expected = np.zeros(GRID.shape, bool)
    expected[1, 3:7, 2:5] = True
    np.testing.assert_array_equal(mask, expected)
    assert lost == {}


def test_exclusive_contour_in_contour_is_a_hole(patient: Path, tmp_path: Path) -> None:
    kind = "CLOSEDPLANAR_XOR"
    mask, _ = drawn(
        patient, tmp_path, square(0.5, 8.5, 0.5, 8.5, 0, kind), square(2.5, 5.5, 2.5, 5.5, 0, kind)
    )
    expected = np.zeros(GRID.shape, bool)
    expected[0, 1:9, 1:9] = True
    expected[0, 3:6, 3:6] = False
    np.testing.assert_array_equal(mask, expected)


def test_polygons_that_share_an_edge_share_no_pixel() -> None:
    """Half-open edges: tiles through pixel centres cover each pixel once."""
    mask = np.zeros((6, 6), bool)
    count = np.zeros((6, 6), int)
    for x0, x1 in ((0, 2), (2, 5)):
        for y0, y1 in ((0, 3), (3, 5)):
            tile = np.zeros((6, 6), bool)
            xor_polygon(tile, np.array([y0, y0, y1, y1], float), np.array([x0, x1, x1, x0], float))
            count += tile
            mask ^= tile
    assert count.max() == 1
    assert count.sum() == 25


def test_what_is_no_area_is_counted(patient: Path, tmp_path: Path) -> None:
    point = Dataset()
    point.ContourGeometricType, point.ContourData = "POINT", [1, 1, 0]
    line = square(1, 4, 1, 4, 0, "OPEN_PLANAR")
    flat = Dataset()
    flat.ContourGeometricType, flat.ContourData = "CLOSED_PLANAR", [1, 1, 0, 2, 2, 0]
    outside = square(100, 110, 1, 4, 0)
    mask, lost = drawn(patient, tmp_path, point, line, flat, outside)
    assert not mask.any()
    assert lost == {"points": 1, "open_contours": 1, "degenerate": 1, "outside_image": 1}


@pytest.mark.parametrize(
    ("contour", "code"),
    [
        (square(1, 4, 1, 4, 7.2), "contour_off_slices"),  # the last slice lies at 6 mm
        (square(1, 4, 1, 4, -1.1), "contour_off_slices"),
    ],
)
def test_contours_off_the_slices_are_refused(
    patient: Path, tmp_path: Path, contour: Dataset, code: str
) -> None:
    with pytest.raises(Reject) as caught:
        drawn(patient, tmp_path, contour)
    assert caught.value.code == code


def test_oblique_and_malformed_contours_are_refused(patient: Path, tmp_path: Path) -> None:
    oblique = Dataset()
    oblique.ContourGeometricType = "CLOSED_PLANAR"
    oblique.ContourData = [1, 1, 0, 5, 1, 0, 5, 5, 6, 1, 5, 6]
    with pytest.raises(Reject, match="contour_oblique"):
        drawn(patient, tmp_path / "a", oblique)
    oblique.ContourData = [1, 1, 0, 5, 1]
    with pytest.raises(Reject, match="contour_malformed"):
        drawn(patient, tmp_path / "b", oblique)


def test_other_frame_of_reference_is_refused(patient: Path) -> None:
    path = patient / "PET" / "dicom" / "mask" / "RS.dcm"
    with pytest.raises(Reject, match="frame_of_reference_differs"):
        next(rois(path, Grid(GRID.shape, GRID.affine, frame="another")))


# ---- SEG


def nrrd(path: Path) -> NDArray[np.int16]:
    """The gzip NRRD label map of the sample, x fastest: an array (slice, row, column)."""
    head, _, data = path.read_bytes().partition(b"\n\n")
    sizes = next(line for line in head.decode().splitlines() if line.startswith("sizes:"))
    shape = [int(n) for n in sizes.split()[1:]]
    return np.frombuffer(gzip.decompress(data), "<i2").reshape(shape[::-1])


def test_binary_frames_packed_across_borders(samples: Path) -> None:
    """23 columns: no frame but the first begins on a byte."""
    folder = samples / "pet_dicom" / "dcmqi" / "23x38x3"
    image = stack(scan(dicom_files(folder / "image")).only())
    for grid in (None, image.grid):
        (segment,) = segments(folder / "seg" / "label.seg", grid, image.series)
        np.testing.assert_array_equal(segment.mask.array, nrrd(folder / "nrrd" / "label.nrrd") == 1)
        assert same_grid(segment.mask.grid, image.grid)
        assert (segment.label, segment.threshold, segment.mask.flags) == ("Liver", None, ())


def test_sparse_overlapping_segments(samples: Path) -> None:
    """Two segments on four CT slices, 161 planes without a frame between the first and the second."""
    folder = samples / "pet_dicom" / "highdicom_seg"
    path = folder / "seg_image_ct_binary_overlap.dcm"
    series = scan(dicom_files(folder / "CT2")).only()
    first, second = segments(path, image=series)
    frames = read(path).pixel_array.astype(bool)
    for segment, stored in ((first, frames[:4]), (second, frames[4:])):
        assert segment.mask.array.shape == (165, 16, 16)
        np.testing.assert_array_equal(segment.mask.array[[0, 162, 163, 164]], stored)
        assert segment.mask.array.sum() == stored.sum()
    assert (first.mask.array & second.mask.array).any()
    assert same_grid(first.mask.grid, stack(series, fill_gaps=True).grid)


def test_fractional_segment_is_cut_at_one_half(samples: Path) -> None:
    """Stored 0, 64 and 128 of 255: only 128 is at least one half."""
    path = samples / "pet_dicom" / "highdicom_seg" / "seg_image_ct_true_fractional.dcm"
    (segment,) = segments(path)
    np.testing.assert_array_equal(segment.mask.array, read(path).pixel_array == 128)
    assert segment.threshold == 0.5


def test_segmentation_of_a_pet_without_its_image(samples: Path) -> None:
    (segment,) = segments(samples / "pet_dicom" / "dcmqi" / "sr-example" / "seg.dcm")
    per_slice = segment.mask.array.sum(axis=(1, 2)).tolist()
    assert per_slice == [11, 24, 42, 60, 69, 81, 82, 91, 94, 94, 81, 57, 9]
    assert segment.mask.spacing_mm == pytest.approx((3.375, 3.537818, 3.537818))


def test_missing_source_image_is_flagged(samples: Path) -> None:
    folder = samples / "pet_dicom" / "dcmqi" / "23x38x3"
    series = scan(dicom_files(folder / "image")[:2]).only()
    (segment,) = segments(folder / "seg" / "label.seg", image=series)
    assert segment.mask.flags == ("referenced_image_missing",)
    assert segment.mask.array.sum() == 322


def shuffle_frames(ds: Dataset) -> None:
    bits = ds.pixel_array[[2, 0, 1]]
    ds.PixelData = np.packbits(bits.reshape(-1), bitorder="little").tobytes() + b"\0"
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    ds.PerFrameFunctionalGroupsSequence = [groups[2], groups[0], groups[1]]


def test_frames_are_placed_by_position(samples: Path, tmp_path: Path) -> None:
    folder = samples / "pet_dicom" / "dcmqi" / "23x38x3"
    (shuffled,) = copies([folder / "seg" / "label.seg"], tmp_path, shuffle_frames)
    (segment,) = segments(shuffled)
    np.testing.assert_array_equal(segment.mask.array, nrrd(folder / "nrrd" / "label.nrrd") == 1)


def test_coarser_image_is_a_grid_mismatch_and_resampling_the_way_out(samples: Path) -> None:
    folder = samples / "pet_dicom" / "dcmqi" / "23x38x3"
    grid = read_volume(scan(dicom_files(folder / "image")).only()).grid
    coarse = Grid((3, 19, 12), grid.affine @ np.diag([2.0, 2.0, 1.0, 1.0]), grid.frame)
    with pytest.raises(Reject, match="grid_mismatch"):
        list(segments(folder / "seg" / "label.seg", coarse))
    (segment,) = segments(folder / "seg" / "label.seg")
    label = nrrd(folder / "nrrd" / "label.nrrd") == 1
    np.testing.assert_array_equal(resample(segment.mask, coarse).array, label[:, ::2, ::2])


def no_kind_known(ds: Dataset) -> None:
    ds.SegmentationType = "SURFACE"


def unknown_segment(ds: Dataset) -> None:
    ds.SegmentSequence[0].SegmentNumber = 5


def no_position(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def frame_lost(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[1]


def cut(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[:100]


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (no_kind_known, "seg_type_unsupported"),
        (unknown_segment, "segment_unknown"),
        (no_position, "no_geometry"),
        (frame_lost, "frames_missing"),
        (cut, "no_pixel_data"),
    ],
)
def test_segmentations_that_are_refused(samples: Path, tmp_path: Path, edit: Edit, code: str) -> None:
    (path,) = copies([samples / "pet_dicom" / "dcmqi" / "23x38x3" / "seg" / "label.seg"], tmp_path, edit)
    with pytest.raises(Reject) as caught:
        list(segments(path))
    assert caught.value.code == code


@pytest.mark.parametrize("reader", [lambda p: list(segments(p)), lambda p: list(rois(p, GRID))])
def test_an_image_is_no_mask_object(samples: Path, reader: Callable[[Path], list[object]]) -> None:
    image = dicom_files(samples / "pet_dicom" / "dcmqi" / "23x38x3" / "image")[0]
    assert pydicom.misc.is_dicom(image)
    with pytest.raises(Reject, match="not_"):
        reader(image)
