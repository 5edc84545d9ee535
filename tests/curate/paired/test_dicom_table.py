"""`inspect --dicom`: what a folder of DICOM holds, what would be used, and why not; numbers in their unit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.listing import list_download
from medshards.curate.paired.dicom_table import describe
from medshards.curate.phantoms import write_phantom
from medshards.curate.pseudonyms import load_key
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.curate.dicom_edits import copies, dicom_files, put


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_phantom("umd_petct", tmp_path / "phantom")
    shutil.copytree(tmp_path / "phantom" / "L7 DICOM", tmp_path / "study")
    return tmp_path / "study"


def edit(folder: Path, pattern: str, **values: object) -> None:
    for path in folder.glob(pattern):
        ds = pydicom.dcmread(path)
        put(**values)(ds)
        ds.save_as(path)


def row(rows: list[dict[str, Any]], modality: str) -> dict[str, Any]:
    (found,) = [r for r in rows if r["modality"] == modality]
    return found


def test_json_of_a_pair(study: Path) -> None:
    load_key()  # `inspect` makes none
    result = CliRunner().invoke(cli, ["inspect", "--dicom", str(study), "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.output)
    ct, pet = row(rows, "CT"), row(rows, "PT")
    assert (ct["shape"], ct["spacing"], ct["unit"]) == ([10, 16, 20], [24, 16, 16], "HU")
    assert (ct["min"], ct["median"], ct["used"]) == (-1000, 40, True)
    assert (pet["shape"], pet["unit"], pet["used"]) == ([20, 16, 20], "SUVbw g/ml", True)
    assert (pet["min"], pet["median"]) == pytest.approx((0.1, 0.8), abs=1e-3)
    assert pet["max"] == pytest.approx(15, abs=0.1)
    assert pet["liver_median"] == pytest.approx(2.3, abs=1e-3)
    assert "liver_suv_unusual" not in pet["flags"]
    (case,) = list_download(get_source("umd_petct"), study).cases
    assert {ct["patient"], pet["patient"]} == {case.group}


def test_table_for_people(study: Path) -> None:
    result = CliRunner().invoke(cli, ["inspect", "--dicom", str(study)])
    assert result.exit_code == 0
    assert "20 × 16 × 20" in result.output
    assert "2 series of 1 patient, 2 would be used" in result.output


@pytest.mark.parametrize("left", [0, 300])
def test_a_damaged_file_is_listed_and_ends_with_status_1(study: Path, left: int) -> None:
    path = sorted(study.glob("**/1-PET/*"))[-1]
    path.write_bytes(path.read_bytes()[:left])
    result = CliRunner().invoke(cli, ["inspect", "--dicom", str(study)])
    assert result.exit_code == 1
    assert "1 file " in result.output
    assert ("no: unreadable" if left else "no: empty") in result.output


def test_an_odd_liver_is_flagged(study: Path) -> None:
    edit(study, "**/1-PET/*", PatientWeight=140)
    assert "liver_suv_unusual" in row(describe(study), "PT")["flags"]


def test_no_weight_no_suv_but_activity(study: Path) -> None:
    edit(study, "**/1-PET/*", PatientWeight=None)
    pet = row(describe(study), "PT")
    assert (pet["refused"], pet["unit"], pet["used"]) == ("weight_missing", "Bq/ml", False)
    # 350 MBq in 70 kg, an hour before: 0.8 g/ml are so many Bq/ml
    assert pet["median"] == pytest.approx(0.8 * 350e6 * 2 ** (-3600 / 6586.2) / 70_000, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"RadionuclideTotalDose": None}, "dose_missing"),
        ({"RadionuclideTotalDose": -5}, "dose_invalid"),
        ({"RadionuclideHalfLife": None}, "half_life_missing"),
        ({"Units": "CPS"}, "units_unsupported"),
        ({"Units": "CNTS"}, "philips_factors_missing"),
        ({"Units": "PROPCNTS"}, "not_attenuation_corrected"),
        ({"CorrectedImage": ["DECY"]}, "not_attenuation_corrected"),
        ({"RadiopharmaceuticalStartTime": None}, "injection_time_missing"),
        ({"RescaleIntercept": 5}, "pet_intercept"),
        ({"SeriesType": ["DYNAMIC", "IMAGE"]}, "dynamic_pet"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection"),
        ({"ImagePositionPatient": None}, "no_geometry"),
    ],
)
def test_refusals_are_rows_with_a_code(study: Path, values: dict[str, object], code: str) -> None:
    edit(study, "**/1-PET/*", **values)
    pet = row(describe(study), "PT")
    assert (pet["refused"], pet.get("used", False), pet["files"]) == (code, False, 20)
    assert pet["message"]


def test_missing_slices_are_refused_and_the_rest_measured(study: Path) -> None:
    next(study.glob("**/1-PET/010")).unlink()
    pet = row(describe(study), "PT")
    assert (pet["refused"], pet["used"]) == ("slice_gap", False)
    assert pet["shape"][0] == 19
    assert pet["median"] == pytest.approx(0.8, abs=1e-3)


def test_what_another_series_is_preferred_to(study: Path) -> None:
    (study / "again").mkdir()
    for path in study.glob("**/2-CT/*"):
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID += ".1"
        ds.SOPInstanceUID += ".1"
        ds.save_as(study / "again" / path.name)
    assert [r["why_not"] for r in describe(study) if r["modality"] == "CT"] == ["several_series"] * 2
    edit(study, "again/*", FrameOfReferenceUID="1.2.3")
    cts = [r for r in describe(study) if r["modality"] == "CT"]
    assert sorted((r["used"], r.get("why_not")) for r in cts) == [
        (False, "another_is_preferred"),
        (True, None),
    ]


def test_reference_objects(samples: Path) -> None:
    """The greatest SUV of every object is 4.00 and they hold it without their mask, too."""
    folders = sorted((samples / "pet_dicom" / "oncoray_suv_dro" / "DRO").glob("DRO_*/PT"))
    if not folders:
        pytest.skip("no SUV reference objects among the samples")
    for folder in folders:
        pet = row(describe(folder), "PT")
        coarse = pydicom.dcmread(dicom_files(folder)[0]).Units == "CM2ML"
        assert pet["unit"] == "SUVbw g/ml"
        assert pet["max"] == pytest.approx(3.977 if coarse else 4.0, abs=0.002), folder.parent.name


def test_real_series_against_plain_libraries(samples: Path) -> None:
    patient = samples / "pet_dicom" / "soft_tissue_sarcoma" / "sts_images" / "STS_002"
    if not patient.is_dir():
        pytest.skip("no sarcoma patient among the samples")
    rows = describe(patient)
    for modality, folder in (("PT", "PET"), ("MR", "MR_T1")):
        image = np.asarray(
            nib.Nifti1Image.from_filename(patient / folder / "nifti" / "image" / "image.nii.gz").dataobj
        )
        found = row(rows, modality)
        assert found["shape"] == list(image.shape[::-1])
        assert (found["min"], found["median"], found["max"]) == pytest.approx(
            (image.min(), np.median(image), image.max()), abs=0.002
        )
    assert all(r["used"] for r in rows)


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(Reject, match="no_series"):
        describe(tmp_path)
    assert CliRunner().invoke(cli, ["inspect", "--dicom", str(tmp_path)]).exit_code == 1
    assert CliRunner().invoke(cli, ["inspect"]).exit_code == 2


def test_a_damaged_copy_does_not_stop_the_rest(study: Path) -> None:
    copies([next(study.glob("**/1-PET/000"))], study / "copy", put(SOPInstanceUID="1.2.3"))
    data = (study / "copy" / "000").read_bytes()
    (study / "copy" / "000").write_bytes(data[: len(data) // 3])
    assert row(describe(study), "CT")["used"]
