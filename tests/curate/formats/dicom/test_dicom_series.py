"""From a pile of DICOM files to volumes: grouping, slice order, gaps, repeats, what is left out."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from medshards.curate.formats.dicom.series import Scan
from medshards.curate.formats.dicom.stack import read_suv, read_volume, stack
from medshards.curate.formats.volumes import nifti
from medshards.curate.phantoms.bodies.dicom import save, slice_of
from medshards.curate.sample import Reject
from medshards.curate.volumes import same_grid
from tests.curate.dicom_edits import Edit, copies, dicom_files, file, put, read, scan


@pytest.fixture(scope="module")
def patient(samples: Path) -> Path:
    return samples / "pet_dicom" / "soft_tissue_sarcoma" / "sts_images" / "STS_002"


@pytest.fixture(scope="module")
def ct(patient: Path) -> list[Path]:
    """Ten slices of the CT, from the feet to the head."""
    return dicom_files(patient / "CT" / "dicom" / "image")[:10]


@pytest.fixture(scope="module")
def pet(patient: Path) -> list[Path]:
    return dicom_files(patient / "PET" / "dicom" / "image")[:3]


@pytest.fixture(scope="module")
def mr(patient: Path) -> list[Path]:
    return dicom_files(patient / "MR_T1" / "dicom" / "image")[:4]


def codes(found: Scan) -> dict[str, int]:
    return {entry.code: len(entry.files) for entry in found.left_out}


def test_dicom_and_nifti_copies_are_one_image(patient: Path) -> None:
    compared = 0
    for image in sorted(patient.glob("*/nifti/image/image.nii.gz")):
        series = scan(dicom_files(image.parents[2] / "dicom" / "image")).only()
        volume = read_volume(series)
        copy = nifti.read_image(file(image), volume.modality, volume.unit)
        assert volume.array.shape == copy.array.shape
        # DICOM stores whole numbers: equal within half a step
        step = max(frame.slope for frame in series.frames)
        assert np.abs(volume.array - copy.array.astype(float)).max() <= step / 2
        np.testing.assert_allclose(volume.affine, copy.affine, atol=1e-4)
        compared += 1
    assert compared


def test_three_modalities_in_one_pile(patient: Path) -> None:
    files = list(patient.rglob("*.dcm"))
    random.Random(0).shuffle(files)
    found = scan(files)
    assert [(s.modality, len(s.frames)) for s in found.series] == [("CT", 48), ("MR", 35), ("PT", 48)]
    assert len(found.rtstructs) == 3
    assert not found.left_out
    assert len({s.frame_of_reference for s in found.series}) == 1
    assert sum(len(s.files) for s in found.series) + len(found.rtstructs) == len(files)


def test_order_comes_from_geometry_alone(ct: list[Path], tmp_path: Path) -> None:
    numbers = iter(range(100, 0, -1))
    edited = copies(ct, tmp_path / "a", lambda ds: put(InstanceNumber=next(numbers), SliceLocation="0")(ds))
    names = [path.rename(path.with_name(f"{9 - n}.dcm")) for n, path in enumerate(edited)]
    found, whole = read_volume(scan(reversed(names)).only()), read_volume(scan(ct).only())
    np.testing.assert_array_equal(found.array, whole.array)
    np.testing.assert_array_equal(found.affine, whole.affine)


def test_affine_takes_voxels_to_the_positions_in_the_files(mr: list[Path]) -> None:
    """ImagePositionPatient is LPS, the affine RAS; spacing is (row distance, column distance)."""
    volume = read_volume(scan(mr).only())
    for k, path in enumerate(mr):
        ds = read(path)
        x, y, z = (float(v) for v in ds.ImagePositionPatient)
        np.testing.assert_allclose(volume.affine @ [0, 0, k, 1], [-x, -y, z, 1], atol=1e-4)
    rows, columns = (float(v) for v in ds.PixelSpacing)
    assert volume.spacing_mm[1:] == pytest.approx((rows, columns))


def test_unequal_pixel_spacing_and_turned_slices(ct: list[Path], tmp_path: Path) -> None:
    """Coronal planes: rows run down, the normal points to the back; 2 mm between rows, 0.5 between columns."""
    heights = count()

    def coronal(ds: Dataset) -> None:
        put(
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
            ImagePositionPatient=[-10, 5 + 3 * next(heights), 40],
            PixelSpacing=[2, 0.5],
        )(ds)

    volume = read_volume(scan(copies(ct, tmp_path, coronal)).only())
    assert volume.spacing_mm == pytest.approx((3, 2, 0.5))
    # column 4, row 5, slice 6 lies at LPS (−10 + 2, 5 + 18, 40 − 10)
    np.testing.assert_allclose(volume.affine @ [4, 5, 6, 1], [8, -23, 30, 1], atol=1e-6)


def test_multi_frame_object_is_its_classic_twin(samples: Path) -> None:
    folder = samples / "pet_dicom" / "dcmqi" / "23x38x3"
    classic = read_volume(scan(dicom_files(folder / "image")).only())
    legacy = read_volume(scan(dicom_files(folder / "multiframe")).only())
    np.testing.assert_array_equal(classic.array, legacy.array)
    np.testing.assert_allclose(classic.affine, legacy.affine)
    assert classic.array.shape == (3, 38, 23)


def test_frames_of_a_multi_frame_object_in_any_order(samples: Path, tmp_path: Path) -> None:
    source = samples / "pet_dicom" / "dcmqi" / "23x38x3" / "multiframe"

    def turn(ds: Dataset) -> None:
        ds.PixelData = np.ascontiguousarray(ds.pixel_array[[2, 0, 1]]).tobytes()
        groups = list(ds.PerFrameFunctionalGroupsSequence)
        ds.PerFrameFunctionalGroupsSequence = [groups[2], groups[0], groups[1]]

    turned = read_volume(scan(copies(dicom_files(source), tmp_path, turn)).only())
    np.testing.assert_array_equal(turned.array, read_volume(scan(dicom_files(source)).only()).array)


def test_enhanced_object_without_geometry(samples: Path) -> None:
    found = scan(dicom_files(samples / "pet_dicom" / "enhanced"))
    assert not found.series
    with pytest.raises(Reject, match="no_geometry"):
        found.only()


def enhanced_pet(classic: Path, sop_class: str, mapped: bool) -> Edit:
    def edit(ds: Dataset) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        ds.Modality = "PT"
        if mapped:
            mapping = Dataset()
            mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 0.0
            mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 40
            unit = Dataset()
            unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "{SUVbw}g/ml", "UCUM", "SUV"
            mapping.MeasurementUnitsCodeSequence = [unit]
            ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]
        ds.PixelData = (np.arange(3 * 38 * 23) % 41).astype(np.uint16).tobytes()

    return edit


@pytest.mark.parametrize("suffix", ["130", "128.1"])
def test_enhanced_pet_is_suv_only_by_its_map(samples: Path, tmp_path: Path, suffix: str) -> None:
    files = dicom_files(samples / "pet_dicom" / "dcmqi" / "23x38x3" / "multiframe")
    sop_class = f"1.2.840.10008.5.1.4.1.1.{suffix}"
    plain = scan(copies(files, tmp_path / "plain", enhanced_pet(files[0], sop_class, mapped=False))).only()
    with pytest.raises(Reject, match=r"enhanced_pet_unsupported.*130.*128\.1"):
        read_suv(plain)
    mapped = scan(copies(files, tmp_path / "mapped", enhanced_pet(files[0], sop_class, mapped=True))).only()
    expected = (np.arange(3 * 38 * 23) % 41).reshape(3, 38, 23) * 0.5
    np.testing.assert_array_equal(read_suv(mapped).array, expected)

    def overflow(ds: Dataset) -> None:
        enhanced_pet(files[0], sop_class, mapped=True)(ds)
        ds.PixelData = np.full(3 * 38 * 23, 41, np.uint16).tobytes()

    with pytest.raises(Reject, match="outside_mapped_range"):
        read_suv(scan(copies(files, tmp_path / "over", overflow)).only())


def test_missing_slices(ct: list[Path]) -> None:
    whole = read_volume(scan(ct).only())
    holed = scan(ct[:4] + ct[6:]).only()
    with pytest.raises(Reject, match="slice_gap: 2 of 10"):
        read_volume(holed)
    filled = read_volume(holed, fill_gaps=True)
    assert filled.filled == (4, 5)
    assert same_grid(filled.grid, whole.grid)
    kept = [0, 1, 2, 3, 6, 7, 8, 9]
    np.testing.assert_array_equal(filled.array[kept], whole.array[kept])
    expected = whole.array[3] * (2 / 3) + whole.array[6] * (1 / 3)
    np.testing.assert_allclose(filled.array[4], expected, rtol=1e-5, atol=1e-3)


def test_real_series_with_far_away_slice(samples: Path) -> None:
    """Four slices at −99.48, 103.02, 104.27 and 105.52 mm: 161 are missing."""
    series = scan(dicom_files(samples / "pet_dicom" / "highdicom_seg" / "CT2")).only()
    with pytest.raises(Reject, match="slice_gap: 161 of 165"):
        stack(series)


def shifted(files: list[Path], folder: Path, steps: list[float]) -> list[Path]:
    heights = iter(np.cumsum([0.0, *steps]))
    return copies(
        files, folder, lambda ds: put(ImagePositionPatient=[0, 0, round(float(next(heights)), 4)])(ds)
    )


def test_slightly_uneven_slices_are_accepted(ct: list[Path], tmp_path: Path) -> None:
    """Steps as in a real whole-body series of several beds."""
    files = shifted(ct, tmp_path, [3.27] * 4 + [3.29, 3.19] + [3.27] * 3)
    volume = read_volume(scan(files).only())
    assert volume.spacing_mm[0] == pytest.approx(3.27)
    assert "uneven_spacing" in volume.flags


@pytest.mark.parametrize("steps", [[3.27] * 4 + [3.6] + [3.27] * 4, [3, 3, 3, 4.5, 3, 3, 3, 3, 3]])
def test_irregular_slices_are_refused(ct: list[Path], tmp_path: Path, steps: list[float]) -> None:
    with pytest.raises(Reject, match="irregular_spacing"):
        read_volume(scan(shifted(ct, tmp_path, steps)).only())


def test_tilted_gantry_is_refused(ct: list[Path], tmp_path: Path) -> None:
    heights = count()

    def tilt(ds: Dataset) -> None:
        k = next(heights)
        put(ImagePositionPatient=[0, 0.5 * k, 3 * k])(ds)

    with pytest.raises(Reject, match="gantry_tilt"):
        read_volume(scan(copies(ct, tmp_path, tilt)).only())


def test_repeated_slices(ct: list[Path], tmp_path: Path) -> None:
    again = copies(ct[2:5], tmp_path / "same")
    volume = read_volume(scan(ct + again).only())
    assert "duplicate_slices_dropped" in volume.flags
    np.testing.assert_array_equal(volume.array, read_volume(scan(ct).only()).array)

    def brighter(ds: Dataset) -> None:
        ds.PixelData = (ds.pixel_array + 1).astype(np.int16).tobytes()

    other = copies(ct, tmp_path / "other", brighter)
    with pytest.raises(Reject, match="duplicate_positions"):
        read_volume(scan(ct + other).only())
    second = copies(ct, tmp_path / "second", brighter, put(AcquisitionNumber=7))
    first, last = (read_volume(s) for s in scan(ct + second).series)
    assert {int((first.array - last.array).min()), int((first.array - last.array).max())} <= {-1, 1}


def test_dixon_images_of_one_series_are_told_apart(mr: list[Path], tmp_path: Path) -> None:
    files = []
    for name, value in (("W", 1), ("F", 2), ("IP", 3), ("OPP_PHASE", 4)):

        def edit(ds: Dataset, name: str = name, value: int = value) -> None:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "DIXON", name]
            ds.PixelData = np.full((ds.Rows, ds.Columns), value, np.int16).tobytes()

        files += copies(mr, tmp_path / name, edit)
    found = scan(files)
    values = {s.contrast: set(np.unique(read_volume(s).array).tolist()) for s in found.series}
    assert values == {"water": {1}, "fat": {2}, "in_phase": {3}, "opposed_phase": {4}}


def test_echoes_of_one_series_are_told_apart(mr: list[Path], tmp_path: Path) -> None:
    short = copies(mr, tmp_path / "short", put(EchoTime="1.2"))
    long = copies(mr, tmp_path / "long", put(EchoTime="2.5"))
    assert [len(s.frames) for s in scan(short + long).series] == [len(mr), len(mr)]


@pytest.mark.parametrize("suffix", ["_W", "_water", " WATER"])
def test_dixon_by_name(mr: list[Path], tmp_path: Path, suffix: str) -> None:
    files = copies(mr, tmp_path, put(SeriesDescription="t1_vibe_dixon" + suffix))
    assert scan(files).only().contrast == "water"


def test_one_series_of_two_orientations_is_two_volumes(ct: list[Path], tmp_path: Path) -> None:
    heights = count()

    def sagittal(ds: Dataset) -> None:
        put(ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[next(heights), 0, 0])(ds)

    found = scan([*ct, *copies(ct, tmp_path, sagittal)])
    assert [len(s.frames) for s in found.series] == [10, 10]
    with pytest.raises(Reject, match="several_series"):
        found.only()


@pytest.mark.parametrize(
    ("which", "edit", "code"),
    [
        ("ct", put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
        ("ct", put(ImageType=["DERIVED", "SECONDARY", "PROJECTION IMAGE"]), "projection"),
        ("pet", put(ImageType=["DERIVED", "SECONDARY", "MIP"]), "projection"),
        ("pet", put(CorrectedImage=["DECY", "SCAT"]), "not_attenuation_corrected"),
        ("pet", put(Units="PROPCNTS"), "not_attenuation_corrected"),
        ("pet", put(SeriesType=["DYNAMIC", "IMAGE"]), "dynamic_pet"),
        ("pet", put(SeriesType=["GATED", "IMAGE"]), "dynamic_pet"),
        ("pet", put(Units="1CM"), "mu_map"),
        ("mr", put(SeriesDescription="Head_MRAC_PET_UMAP"), "mu_map"),
        ("ct", put(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "secondary_capture"),
        ("ct", put(Modality="US"), "modality_unsupported"),
        ("ct", put(PixelSpacing=None), "no_geometry"),
        ("ct", put(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "no_geometry"),
        ("ct", put(Rows=None), "unreadable"),
        ("ct", put(Rows=60000), "not_an_image"),
    ],
)
def test_left_out(which: str, edit: Edit, code: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Such a series beside a good one is counted and does no harm; alone, its reason is raised."""
    good, bad = request.getfixturevalue(which), None
    bad = copies(good, tmp_path, edit, put(SeriesInstanceUID="1.2.3"))
    found = scan([*good, *bad])
    assert codes(found) == {code: len(bad)}
    assert len(found.only().frames) == len(good)
    with pytest.raises(Reject) as caught:
        scan(bad).only()
    assert caught.value.code == code


def test_foreign_files_are_counted(ct: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "short.dcm").write_bytes(ct[0].read_bytes()[:300])
    found = scan([*ct, tmp_path / "notes.txt", tmp_path / "short.dcm"])
    assert sum(codes(found).values()) == 2
    assert codes(found)["not_dicom"] == 1


def test_cut_off_pixels_are_refused(ct: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.dcm"
    path.write_bytes(ct[0].read_bytes()[:-5000])
    with pytest.raises(Reject, match="no_pixel_data"):
        read_volume(scan([path, *ct[1:]]).only())


def jpeg_lossless(ds: Dataset) -> None:
    frame = imagecodecs.ljpeg_encode(ds.pixel_array.view(np.uint16), bitspersample=16)
    ds.PixelData = encapsulate([bytes(frame)])
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1


@pytest.mark.parametrize(
    "edit",
    [lambda ds: ds.compress(RLELossless), lambda ds: ds.compress(JPEG2000Lossless), jpeg_lossless],
    ids=["rle", "jpeg2000", "jpeg-lossless"],
)
def test_compressed_slices(ct: list[Path], tmp_path: Path, edit: Edit) -> None:
    def explicit(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian

    files = copies(ct, tmp_path, explicit, edit)
    assert read(files[0]).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_volume(scan(files).only()).array, read_volume(scan(ct).only()).array)


def test_values_beyond_16_bit_become_float(ct: list[Path], tmp_path: Path) -> None:
    slopes = iter([1] * 4 + [1000] + [1] * 5)
    files = copies(ct, tmp_path, lambda ds: put(RescaleSlope=next(slopes))(ds))
    volume, plain = read_volume(scan(files).only()), read_volume(scan(ct).only())
    assert (plain.array.dtype, volume.array.dtype) == (np.int16, np.float32)
    np.testing.assert_array_equal(volume.array[4], plain.array[4].astype(float) * 1000)
    np.testing.assert_array_equal(volume.array[5:], plain.array[5:])


def test_beds_are_no_time_slices(pet: list[Path], tmp_path: Path) -> None:
    """A whole-body series counts its beds in (0054,0101), and each bed has a time of its own."""
    times = iter((0, 0, 180_000))
    files = copies(
        pet, tmp_path, put(NumberOfTimeSlices=2), lambda ds: put(FrameReferenceTime=next(times))(ds)
    )
    assert len(scan(files).only("PT").frames) == 3


def test_places_that_come_back_later_are_dynamic(pet: list[Path], tmp_path: Path) -> None:
    later = copies(pet, tmp_path, put(FrameReferenceTime=600_000))
    found = scan([*pet, *later])
    assert codes(found) == {"dynamic_pet": 6}
    assert not found.series


@pytest.mark.parametrize(("signed", "stored"), [(False, 63536), (True, -2000), (True, 63536)])
def test_padding_is_no_measurement(signed: bool, stored: int, tmp_path: Path) -> None:
    """Older scanners fill what lies outside of their round field with −2000, also written as 63536."""
    values = np.array([[-2000, 100, 1024], [3000, -2000, 0]])
    ds = slice_of("CT", "P01", 1, 0, values)
    ds.PixelRepresentation, ds.RescaleIntercept = int(signed), -1024
    ds.add_new(0x00280120, "US" if stored > 0 else "SS", stored)
    save(ds, tmp_path / "0")
    volume = read_volume(scan([tmp_path / "0"]).only())
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array[0], [[-1000, -924, 0], [1976, -1000, -1024]])


def test_a_range_of_padding(tmp_path: Path) -> None:
    ds = slice_of("MR", "P01", 1, 0, np.array([[-5, -2, -1], [0, 7, 8]]))
    ds.add_new(0x00280120, "SS", -5)
    ds.add_new(0x00280121, "SS", -2)
    save(ds, tmp_path / "0")
    assert read_volume(scan([tmp_path / "0"]).only()).array[0].tolist() == [[0, 0, -1], [0, 7, 8]]


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    """With their file meta group, and as the bare data set that some archives keep."""
    ds = slice_of("CT", "P01", 1, 0, np.arange(12).reshape(3, 4))
    save(ds, tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[132:])
    del ds.file_meta
    for name, implicit in (("explicit", False), ("implicit", True)):
        pydicom.dcmwrite(
            tmp_path / name, ds, implicit_vr=implicit, little_endian=True, enforce_file_format=False
        )
    for name in ("whole", "cut", "explicit", "implicit"):
        volume = read_volume(scan([tmp_path / name]).only())
        assert volume.array[0].tolist() == np.arange(12).reshape(3, 4).tolist(), name


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"")
    assert codes(scan([tmp_path / "a.dcm"])) == {"empty": 1}
