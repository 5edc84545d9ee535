"""SUVbw: the reference objects, their relatives made by editing one, and every reason to refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.pet_header import PetHeader, parse_dt, parse_tm
from medshards.curate.formats.dicom.stack import iter_slices, read_suv, read_volume, stack, suv_slices
from medshards.curate.formats.dicom.suv import check_suv_range, suv_scale
from medshards.curate.formats.volumes.nifti import read_labels
from medshards.curate.phantoms.bodies.dicom import pet_slice
from medshards.curate.sample import Reject
from tests.curate.dicom_edits import Edit, copies, dicom_files, file, put, read, scan

# The object stored as SUV by body surface has coarse stored steps: its own published values.
COARSE = (0.189, 0.985, 3.977)


@pytest.fixture(scope="module")
def objects(samples: Path) -> Path:
    return samples / "pet_dicom" / "oncoray_suv_dro" / "DRO"


@pytest.fixture(scope="module")
def base(objects: Path) -> Path:
    """Header of the default reference object: 70 kg, 1.75 m, 368.08 MBq 18F an hour before the scan, Bq/ml."""
    return dicom_files(objects / "DRO_0_0" / "PT")[0]


# 70 kg · 1000 / (368.08 MBq · 2^(−3600 s / 6586.2 s))
HOUR = 70_000 / (368.08e6 * 2 ** (-3600 / 6586.2))


UNNAMED = {"RadionuclideCodeSequence": None}


def scale_of(base: Path, *edits: Edit) -> tuple[float, str, tuple[str, ...]]:
    ds = read(base)
    for edit in edits:
        edit(ds)
    found = suv_scale([PetHeader.of(ds)])
    return float(found.factors[0]), found.reference, found.flags


def test_reference_objects(objects: Path) -> None:
    """Minimum, median and maximum over the mask are 0.20, 1.00 and 4.00 in every object found."""
    mask = read_labels(file(objects / "DRO_0_0" / "mask" / "DRO_mask.nii.gz"))
    folders = sorted(folder for folder in objects.glob("DRO_*/PT") if folder.is_dir())
    assert folders
    for folder in folders:
        series = scan(dicom_files(folder)).only("PT")
        volume = read_suv(series, fill_gaps=True)
        assert (volume.unit, volume.array.dtype) == ("suvbw", np.float32)
        inside = []
        for k in set(range(volume.array.shape[0])) - set(volume.filled):
            height = volume.affine[2, 3] + k * volume.affine[2, 2]
            slice_of_mask = round((height - mask.affine[2, 3]) / mask.affine[2, 2])
            inside.append(volume.array[k][mask.array[slice_of_mask] > 0])
        values = np.concatenate(inside)
        found = values.min(), np.median(values), values.max()
        expected = COARSE if series.units == "CM2ML" else (0.2, 1.0, 4.0)
        assert found == pytest.approx(expected, abs=0.002), folder.parent.name


def test_sarcoma_patient_is_stored_suv(samples: Path) -> None:
    folder = samples / "pet_dicom" / "soft_tissue_sarcoma" / "sts_images" / "STS_002" / "PET"
    volume = read_suv(scan(dicom_files(folder / "dicom" / "image")).only())
    mask = read_labels(file(folder / "nifti" / "mask" / "mask.nii.gz")).array > 0
    assert volume.array.max() == pytest.approx(21.6757, abs=1e-4)
    assert volume.array[mask].mean() == pytest.approx(7.3696, abs=1e-4)
    assert "suv_reference:stored" in volume.flags


def test_siemens_slice(samples: Path) -> None:
    """FLT, 69.7344 kg, 178.34 MBq at 14:17:00, corrected to 15:23:16.921."""
    series = scan(dicom_files(samples / "pet_dicom" / "acrin_flt_breast")).only()
    activity, suv = read_volume(series), read_suv(series)
    seconds = (15 * 3600 + 23 * 60 + 16.921) - (14 * 3600 + 17 * 60)
    factor = 69.7344 * 1000 / (178340011.59668 * 2 ** (-seconds / 6586.2))
    np.testing.assert_allclose(suv.array, activity.array * factor, rtol=1e-5)
    assert activity.unit == "bqml"
    assert "decay_factor_mismatch" not in suv.flags


@pytest.mark.parametrize(
    ("edits", "factor", "reference"),
    [
        # lean body mass after James, a man of 70 kg and 175 cm: 1.10·70 − 128·(70/175)² = 56.52 kg
        (put(Units="GML", SUVType="LBMJAMES128", PatientSex="M"), 70 / 56.52, "stored"),
        (put(Units="GML", SUVType="LBM", PatientSex="F"), 70 / (1.07 * 70 - 148 * 0.16), "stored"),
        (put(Units="GML", SUVType="LBMJANMA", PatientSex="M"), 70 / (648900 / (6680 + 216 * 22.857143)), "stored"),
        (put(Units="GML", SUVType="IBW", PatientSex="F"), 70 / (45.5 + 0.91 * 23), "stored"),
        (put(Units="GML", SUVType="BW", PatientWeight=None), 1.0, "stored"),
        # body surface of 70 kg and 175 cm: 1.8481 m²
        (put(Units="CM2ML"), 70_000 / 18_481, "stored"),
        (put(PatientSize="175", Units="CM2ML"), 70_000 / 18_481, "stored"),
        (put(DecayCorrection="ADMIN"), 70_000 / 368.08e6, "administration"),
        (put(RadionuclideTotalDose="368.08"), HOUR, "series_time"),
        (put(PatientWeight="70000"), HOUR, "series_time"),
        (put(RadiopharmaceuticalStartDateTime=None), HOUR, "series_time"),
        (put(RadiopharmaceuticalStartTime=None), HOUR, "series_time"),
        (put(RadionuclideHalfLife=None), HOUR, "series_time"),
        (put(SeriesTime="113000", FrameReferenceTime=None), HOUR, "first_acquisition"),
        (put(SeriesTime="113000", Manufacturer="GE MEDICAL SYSTEMS", FrameReferenceTime="0"), HOUR, "computed"),
        # average activity of 300 s of 18F lies 149.2 s after the start
        (put(SeriesTime="113000", FrameReferenceTime="149211"), HOUR, "computed"),
        (put(RadionuclideHalfLife="4057.7", **UNNAMED), 70_000 / (368.08e6 * 2 ** (-3600 / 4057.7)), "series_time"),
        (
            # the activity falls during the frame of 300 s, λT / (1 − e^(−λT)), and in the hour before it
            put(DecayCorrection="NONE", CorrectedImage=["ATTN"]),
            HOUR * (np.log(2) / 6586.2 * 300) / (1 - 2 ** (-300 / 6586.2)),
            "undecayed",
        ),
        # injected at 23:30, scanned at 00:30
        (
            put(
                SeriesDate="20250102", AcquisitionDate="20250102", SeriesTime="003000", AcquisitionTime="003000",
                RadiopharmaceuticalStartTime="2330", RadiopharmaceuticalStartDateTime=None,
            ),
            HOUR,
            "series_time",
        ),
        # dates shifted by de-identification, times of day kept
        (put(RadiopharmaceuticalStartDateTime="19990704100000"), HOUR, "series_time"),
        # both sides with an offset: 10:00 in UTC+1 is an hour before 11:00 in UTC+1 …
        (
            put(RadiopharmaceuticalStartDateTime="20250101090000+0000", TimezoneOffsetFromUTC="+0100"),
            HOUR,
            "series_time",
        ),
        # … and an offset on one side only is ignored
        (put(RadiopharmaceuticalStartDateTime="20250101100000.00+0500"), HOUR, "series_time"),
    ],
)  # fmt: skip
def test_relatives_of_the_reference_object(base: Path, edits: Edit, factor: float, reference: str) -> None:
    found = scale_of(base, edits)
    assert found[0] == pytest.approx(factor, rel=1e-4)
    assert found[1] == reference


def drawn_pet(**values: object) -> PetHeader:
    """Header of the phantom's PET: 70 kg, 350 MBq of 18F an hour before a scan of 120 s a bed."""
    ds = pet_slice("P01", 1, 0, np.ones((4, 4)))
    put(**values)(ds)
    return PetHeader.of(ds)


def test_decay_during_the_frame_and_before_it_is_undone() -> None:
    """λT / (1 − e^(−λT)) for the fall of activity during T = 120 s, 2^(t / T½) for the time before the frame."""
    uncorrected = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]}
    headers = [drawn_pet(**uncorrected), drawn_pet(**uncorrected, AcquisitionTime="110200")]
    loss = np.log(2) * 120 / 6586.2
    during = loss / (1 - np.exp(-loss))
    assert during == pytest.approx(1.00633, abs=1e-5)
    before = 2 ** (np.array([3600, 3720]) / 6586.2)
    np.testing.assert_allclose(suv_scale(headers).factors, 70_000 / 350e6 * during * before, rtol=1e-9)


def private(creator: str | None, group: int, element: int, vr: str, value: str) -> Edit:
    """An edit that adds a private element, with or without its creator."""

    def edit(ds: Dataset) -> None:
        if creator:
            ds.add_new((group, 0x0011), "LO", creator)
            ds.add_new((group, 0x0010), "LO", "SOMEBODY ELSE")
        ds.add_new((group, (0x1100 if creator else 0x1000) | element), vr, value)

    return edit


@pytest.mark.parametrize("creator", [None, "GEMS_PETD_01"])
def test_private_scan_time_replaces_a_rewritten_series_time(base: Path, creator: str | None) -> None:
    edit = private(creator, 0x0009, 0x0D, "DT", "20250101110000.00")
    late = put(SeriesTime="113000", AcquisitionTime="110230", Manufacturer="GE MEDICAL SYSTEMS")
    assert scale_of(base, late, edit)[:2] == (pytest.approx(HOUR, rel=1e-6), "private_time")


@pytest.mark.parametrize("creator", [None, "Philips PET Private Group"])
def test_philips_counts(base: Path, creator: str | None) -> None:
    counts = put(Units="CNTS", Manufacturer="Philips Medical Systems")
    direct = private(creator, 0x7053, 0x00, "DS", "0.0005")
    assert scale_of(base, counts, direct)[:2] == (0.0005, "stored")
    activity = private(creator, 0x7053, 0x09, "DS", "2.5")
    zero = private(creator, 0x7053, 0x00, "DS", "0")
    assert scale_of(base, counts, zero, activity)[0] == pytest.approx(2.5 * HOUR, rel=1e-6)


def test_uncorrected_slices_have_factors_of_their_own(base: Path) -> None:
    """DecayCorrection NONE: a slice taken half a half-life later is worth √2 of the first."""
    late = put(DecayCorrection="NONE", CorrectedImage=["ATTN"], AcquisitionTime="115453.1")
    early = put(DecayCorrection="NONE", CorrectedImage=["ATTN"])
    headers = []
    for edit in (early, late):
        ds = read(base)
        edit(ds)
        headers.append(PetHeader.of(ds))
    factors = suv_scale(headers).factors
    assert factors[1] / factors[0] == pytest.approx(np.sqrt(2), rel=1e-5)


@pytest.mark.parametrize(
    ("edits", "flag"),
    [
        (put(RadionuclideTotalDose="368.08"), "dose_in_mbq"),
        (put(PatientWeight="70000"), "weight_in_grams"),
        (put(PatientWeight="1.5"), "weight_unusual"),
        (put(DecayCorrection=None), "decay_correction_assumed_start"),
        (put(RadiopharmaceuticalStartDateTime="19990704100000"), "dates_shifted"),
        (put(RadiopharmaceuticalStartDateTime="20250101110030"), "uptake_negative"),
        (put(RadiopharmaceuticalStartDateTime="20250101040000"), "uptake_long"),
        (put(RadiopharmaceuticalStartDateTime="20250101100000+0500"), "utc_offset_ignored"),
        (put(DecayFactor="1.1"), "decay_factor_mismatch"),
        (put(SeriesTime="113000", FrameReferenceTime=None), "reference_is_first_acquisition"),
    ],
)
def test_doubts_are_flagged(base: Path, edits: Edit, flag: str) -> None:
    assert flag in scale_of(base, edits)[2]


def test_injection_before_midnight_is_nothing_odd(objects: Path) -> None:
    headers = [PetHeader.of(read(path)) for path in dicom_files(objects / "DRO_4_2" / "PT")]
    assert "dates_shifted" not in suv_scale(headers).flags


def test_matching_decay_factor_is_not_flagged(base: Path) -> None:
    """Siemens: DecayFactor = 2^(FrameReferenceTime/T½)."""
    assert (
        "decay_factor_mismatch" not in scale_of(base, put(DecayFactor=str(round(2 ** (150 / 6586.2), 6))))[2]
    )


NUCLIDE_UNKNOWN = put(RadionuclideHalfLife=None, RadionuclideCodeSequence=None)


@pytest.mark.parametrize(
    ("edits", "code"),
    [
        (put(PatientWeight=None), "weight_missing"),
        (put(PatientWeight="0"), "weight_missing"),
        (put(Units="GML", SUVType="IBW", PatientSex=""), "sex_missing"),
        (put(Units="GML", SUVType="IBW", PatientSize=None), "height_missing"),
        (put(Units="GML", SUVType="IBW", PatientSize="0"), "height_missing"),
        (put(Units="GML", SUVType="LBM", PatientWeight=None), "weight_missing"),
        (put(Units="GML", SUVType="LBM", PatientSize="0.5"), "mass_implausible"),
        (put(Units="GML", SUVType="BSA"), "suv_type_unsupported"),
        (put(Units="CM2ML", PatientSize=None), "height_missing"),
        (put(Units="CM2ML", PatientWeight=None), "weight_missing"),
        (put(Units="CNTS"), "philips_factors_missing"),
        (put(Units="PROPCNTS"), "units_unsupported"),
        (put(Units="PROPCPS"), "units_unsupported"),
        (put(Units="CPS"), "units_unsupported"),
        (put(Units="1CM"), "units_unsupported"),
        (put(Units=None), "units_unsupported"),
        (put(RadionuclideTotalDose=None), "dose_missing"),
        (put(RadiopharmaceuticalInformationSequence=None), "dose_missing"),
        (put(RadionuclideTotalDose="-368080000"), "dose_invalid"),
        (put(RadionuclideTotalDose="0"), "dose_invalid"),
        (put(DecayCorrection="NONE", ActualFrameDuration=None), "frame_duration_missing"),
        (put(SeriesTime="113000", ActualFrameDuration=None), "frame_duration_missing"),
        (
            put(RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime=None),
            "injection_time_missing",
        ),
        (
            put(
                RadiopharmaceuticalStartDateTime=None,
                RadionuclideHalfLife="282240",
                RadionuclideCodeSequence=None,
            ),
            "injection_date_missing",
        ),
        (put(RadiopharmaceuticalStartDateTime="20241230200000"), "uptake_implausible"),
        (NUCLIDE_UNKNOWN, "half_life_missing"),
        (put(RadionuclideHalfLife="109.8"), "half_life_contradicts_nuclide"),  # 18F, in minutes
        (put(RadionuclideHalfLife="4057.7"), "half_life_contradicts_nuclide"),  # that of 68Ga
        (put(RadiopharmaceuticalStartDateTime="20250101110500"), "injection_after_scan"),
        (put(RadiopharmaceuticalStartDateTime="20250102100000"), "injection_after_scan"),
        (
            put(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime="110500"),
            "injection_after_scan",
        ),
        (put(CorrectedImage=["DECY", "SCAT"]), "not_attenuation_corrected"),
        (put(CorrectedImage=["ATTN", "SCAT"]), "not_decay_corrected"),
        (put(CorrectedImage=["ATTN"], DecayCorrection=None), "decay_correction_missing"),
        (put(RescaleIntercept="-3"), "pet_intercept"),
        (put(SeriesTime=None, AcquisitionTime=None), "reference_time_missing"),
    ],
)
def test_refusals(base: Path, edits: Edit, code: str) -> None:
    with pytest.raises(Reject) as caught:
        scale_of(base, edits)
    assert caught.value.code == code


def test_long_lived_nuclide_may_be_injected_days_before(base: Path) -> None:
    edits = put(
        RadiopharmaceuticalStartDateTime="20241229110000",
        RadionuclideHalfLife="282240",
        RadionuclideCodeSequence=None,
    )
    assert scale_of(base, edits)[0] == pytest.approx(
        70_000 / (368.08e6 * 2 ** (-3 * 86400 / 282240)), rel=1e-6
    )


def test_slices_that_contradict_each_other(base: Path) -> None:
    def headers(**second: object) -> list[PetHeader]:
        one, two = read(base), read(base)
        put(SeriesTime="113000", FrameReferenceTime="149211")(one)
        put(SeriesTime="113000", FrameReferenceTime="149211")(two)
        put(**second)(two)
        return [PetHeader.of(one), PetHeader.of(two)]

    with pytest.raises(Reject, match="reference_time_inconsistent"):
        suv_scale(headers(AcquisitionTime="110030"))
    with pytest.raises(Reject, match="header_inconsistent"):
        suv_scale(headers(PatientWeight="71"))


def test_without_weight_the_activity_remains(objects: Path, tmp_path: Path) -> None:
    files = copies(dicom_files(objects / "DRO_0_0" / "PT")[:2], tmp_path, put(PatientWeight=None))
    series = scan(files).only()
    with pytest.raises(Reject, match="weight_missing"):
        read_suv(series)
    volume = read_suv(series, without_weight="bqml")
    assert volume.unit == "bqml"
    assert "weight_missing" in volume.flags
    np.testing.assert_array_equal(volume.array, read_volume(series).array)


def test_slices_one_at_a_time_are_the_volume(objects: Path) -> None:
    series = scan(dicom_files(objects / "DRO_2_2" / "PT")).only()
    ordered = stack(series)
    slices, flags = suv_slices(ordered)
    volume = read_suv(series)
    np.testing.assert_array_equal(np.stack(list(slices)), volume.array)
    assert flags == volume.flags
    assert sum(1 for _ in iter_slices(ordered)) == len(volume.array)


def test_activity_is_not_taken_for_suv(objects: Path) -> None:
    series = scan(dicom_files(objects / "DRO_0_0" / "PT")).only()
    check_suv_range(read_suv(series).array)
    with pytest.raises(Reject, match="not_suv"):
        check_suv_range(read_volume(series).array)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("10", 36000), ("1030", 37800), ("103005", 37805), ("103005.25", 37805.25), ("10:30:05", 37805)],
)
def test_times_of_day(value: str, seconds: float) -> None:
    found = parse_tm(value)
    assert found is not None
    assert found.total_seconds() == seconds


@pytest.mark.parametrize("value", ["", "1", "2500", "1061", "10h30", "103005.", "REMOVED"])
def test_what_is_no_time_of_day(value: str) -> None:
    assert parse_tm(value) is None
    assert parse_dt("20250101" + value) is None
