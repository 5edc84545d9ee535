"""UMD, PET/MR: the right contrast of a Dixon series is taken and named, stations and mu-maps are not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import get_source
from tests.curate.dicom_edits import put

SOURCE = get_source("umd_petmr")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("umd_petmr", tmp_path / "raw")
    return tmp_path / "raw"


@pytest.fixture
def dicom(phantom: Path) -> Path:
    return next(phantom.glob("L7 DICOM/M08/*"))


def samples_of(root: Path) -> list[Sample]:
    cases = list_download(SOURCE, root).cases
    return [s for case in cases for s in SOURCE.load(case) if isinstance(s, Sample)]


def contrasts(root: Path) -> set[object]:
    return {s.extra["mr_contrast"] for s in samples_of(root) if s.extra["modality"] == "MR"}


def refusal(root: Path) -> str:
    listing = list_download(SOURCE, root)
    if listing.rejects:
        return listing.rejects[0]["code"]
    with pytest.raises(Reject) as caught:
        samples_of(root)
    return caught.value.code


def edited(folder: Path, target: Path, *edits: Callable[[pydicom.Dataset], object]) -> None:
    """A copy of a series under another series id, each file edited."""
    target.mkdir()
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID += f".{sum(target.name.encode())}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(
            f"{ds.SOPInstanceUID}.{sum(target.name.encode())}"
        )
        for edit in edits:
            edit(ds)
        ds.save_as(target / path.name)


def moved(millimetres: float) -> Callable[[pydicom.Dataset], None]:
    def edit(ds: pydicom.Dataset) -> None:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, z + millimetres]

    return edit


def test_intensities_are_arbitrary_and_shown_by_percentiles(phantom: Path) -> None:
    for sample in samples_of(phantom / "L2 flat"):
        assert sample.intensity is not None
        if sample.extra["modality"] == "MR":
            assert sample.intensity.unit == "arbitrary"
            assert 0 <= sample.intensity.window[0] < 300 < sample.intensity.window[1] <= 600
        else:
            assert sample.extra["attenuation"] == "mr"


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("L1 BIDS/sub-M01", {"water"}),
        ("L1 BIDS/sub-M02", {"t1w"}),
        ("L2 flat", {""}),
        ("L7 DICOM", {"water"}),
    ],
)
def test_the_contrast_is_named(phantom: Path, layout: str, expected: set[str]) -> None:
    assert contrasts(phantom / layout) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["W", "F", "in", "opp"], "water"),
        (["F", "in", "opp"], "in_phase"),
        (["opp", "T1w"], "t1w"),
        (["T1w", "T2w"], "t1w"),
        (["W", "umap"], "water"),
    ],
)
def test_choice_among_files(phantom: Path, names: list[str], expected: str) -> None:
    anatomy = phantom / "L1 BIDS" / "sub-M01" / "anat"
    image = (anatomy / "sub-M01_acq-dixon_W.nii.gz").read_bytes()
    shutil.rmtree(anatomy)
    anatomy.mkdir()
    for name in names:
        (anatomy / f"sub-M01_{name}.nii.gz").write_bytes(image)
    assert contrasts(phantom / "L1 BIDS" / "sub-M01") == {expected}


@pytest.mark.parametrize("names", [["F"], ["opp", "F"]])
def test_fat_and_opposed_phase_never_stand_in(phantom: Path, names: list[str]) -> None:
    anatomy = phantom / "L1 BIDS" / "sub-M01" / "anat"
    image = (anatomy / "sub-M01_acq-dixon_W.nii.gz").read_bytes()
    shutil.rmtree(anatomy)
    anatomy.mkdir()
    for name in names:
        (anatomy / f"sub-M01_{name}.nii.gz").write_bytes(image)
    assert refusal(phantom / "L1 BIDS" / "sub-M01") == "mr_contrast_unsupported"


def test_only_fat_in_dicom_is_refused(dicom: Path) -> None:
    shutil.rmtree(dicom / "2-MR")
    assert refusal(dicom) == "mr_contrast_unsupported"


def test_in_phase_where_there_is_no_water(dicom: Path) -> None:
    edited(dicom / "2-MR", dicom / "5-in", put(ImageType=["ORIGINAL", "PRIMARY", "M", "IN_PHASE"]))
    shutil.rmtree(dicom / "2-MR")
    assert contrasts(dicom) == {"in_phase"}


def test_four_images_in_one_series_are_told_apart(dicom: Path) -> None:
    """As some scanners write them: positions repeat, image types differ."""
    for path in (dicom / "4-fat").iterdir():
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID = pydicom.dcmread(next((dicom / "2-MR").iterdir())).SeriesInstanceUID
        ds.save_as(path)
    assert contrasts(dicom) == {"water"}


def test_stations_are_refused_and_a_composed_series_taken(dicom: Path) -> None:
    edited(dicom / "2-MR", dicom / "5-upper", moved(200))
    assert refusal(dicom) == "stations_only"
    whole = [moved(shift) for shift in (0, 240)]
    edited(dicom / "2-MR", dicom / "6-composed", whole[0])
    for number, path in enumerate(sorted((dicom / "2-MR").iterdir())):
        ds = pydicom.dcmread(path)
        whole[1](ds)
        ds.SeriesInstanceUID = pydicom.dcmread(dicom / "6-composed" / path.name).SeriesInstanceUID
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
        ds.save_as(dicom / "6-composed" / f"upper{path.name}")
    mr = [s for s in samples_of(dicom) if s.extra["modality"] == "MR"]
    assert mr[0].extra["original_grid"]["shape"][0] == 20  # type: ignore[index]


def test_two_series_of_one_place_are_refused(dicom: Path) -> None:
    edited(dicom / "2-MR", dicom / "5-again")
    assert refusal(dicom) == "several_series"


def test_maps_of_attenuation_are_no_images(dicom: Path) -> None:
    edited(dicom / "2-MR", dicom / "5-umap", put(SeriesDescription="WB_MRAC_umap"))
    assert contrasts(dicom) == {"water"}


def test_a_jump_of_brightness_is_flagged(dicom: Path) -> None:
    before = samples_of(dicom)
    assert not any("intensity_jumps" in s.extra["flags"] for s in before)  # type: ignore[operator]
    for path in sorted((dicom / "2-MR").iterdir())[6:]:
        ds = pydicom.dcmread(path)
        ds.RescaleSlope = 5
        ds.save_as(path)
    after = [s for s in samples_of(dicom) if s.extra["modality"] == "MR"]
    assert all("intensity_jumps" in s.extra["flags"] for s in after)  # type: ignore[operator]
