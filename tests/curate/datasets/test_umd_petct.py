"""UMD, PET/CT: eight layouts give the same pairs; tables, pairs and grids that do not fit are refused by name."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medshards.curate.listing import Listing, list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.phantoms.bodies.anatomy import ORGANS, SHAPE, organ_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Source, get_source

SOURCE = get_source("umd_petct")
LAYOUTS = [
    "L1 BIDS",
    "L2 flat",
    "L3 autoPET",
    "L4 nnU-Net",
    "L5 HECKTOR",
    "L6 ENHANCE",
    "L7 DICOM",
    "L8 organs",
]
Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    write_phantom("umd_petct", root)
    return root


@pytest.fixture
def layout(phantom: Path, tmp_path: Path) -> Callable[[str], Path]:
    """layout("L2 flat"): a copy of that part of the phantom, without the crosswalk."""

    def copy(name: str) -> Path:
        shutil.copytree(phantom / name, tmp_path / "raw" / name)
        return tmp_path / "raw" / name

    return copy


def load_all(root: Path, source: Source = SOURCE) -> dict[str, list[Sample]]:
    cases = list_download(source, root).cases
    return {case.key: [s for s in source.load(case) if isinstance(s, Sample)] for case in cases}


def samples_of(root: Path, source: Source = SOURCE) -> list[Sample]:
    return [sample for samples in load_all(root, source).values() for sample in samples]


def numbers(sample: Sample) -> np.ndarray:
    assert sample.intensity is not None
    return sample.image.pixels * sample.intensity.slope + sample.intensity.intercept


def codes(listing: Listing) -> list[str]:
    return [row["code"] for row in listing.rejects]


def refusal(root: Path, source: Source = SOURCE) -> Reject:
    """Why the only study below `root` is refused, on listing or on loading."""
    listing = list_download(source, root)
    if listing.rejects:
        (row,) = listing.rejects
        return Reject(row["code"], row["message"], row["file"])
    (case,) = listing.cases
    with pytest.raises(Reject) as caught:
        list(source.load(case))
    return caught.value


def edit_nifti(path: Path, affine: Callable[[np.ndarray], object] | None = None, **how: float) -> None:
    """Write a NIfTI file again: with another affine, or its values multiplied by `times`."""
    image = nib.Nifti1Image.from_filename(path)
    moved = np.array(image.affine)
    if affine is not None:
        affine(moved)
    array = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(array * how["times"] if "times" in how else array, moved), path)


def shift(millimetres: float) -> Callable[[np.ndarray], None]:
    def move(affine: np.ndarray) -> None:
        affine[2, 3] += millimetres

    return move


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_body_that_was_drawn(phantom: Path, name: str) -> None:
    studies = load_all(phantom / name)
    assert len(studies) == (2 if name == "L1 BIDS" else 1)
    for samples in studies.values():
        by_key = {s.key: s for s in samples}
        for sample in samples:
            assert sample.position is not None
            assert sample.position.count == SHAPE[0]
            assert sample.spacing == pytest.approx((16, 16))
            drawn = {
                organ.replace(" ", "_"): area
                for organ in ORGANS
                if (area := int(organ_mask(organ)[sample.position.index].sum()))
            }
            assert {i.concept: i.area for i in sample.instances} == drawn, sample.key
            for instance in sample.instances:
                drawn_here = organ_mask(instance.concept.replace("_", " "))[sample.position.index]
                np.testing.assert_array_equal(instance.region.mask(sample.image.size), drawn_here)
            (other,) = sample.pair
            assert by_key[other].pair == (sample.key,)
            assert by_key[other].position.index == sample.position.index  # type: ignore[union-attr]
            assert {s.extra["modality"] for s in (sample, by_key[other])} == {"CT", "PT"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_numbers_survive(phantom: Path, name: str) -> None:
    """SUV 2.3 in the liver and 60 HU, on their own grid or resampled; activity stays activity."""
    for samples in load_all(phantom / name).values():
        unit = {s.extra["modality"]: s.intensity.unit for s in samples if s.intensity}
        activity = unit["PT"] == "Bq/ml"
        assert unit == {"CT": "HU", "PT": "Bq/ml" if activity else "SUVbw g/ml"}
        for sample in samples:
            if sample.position is None or sample.position.index != 7:
                continue
            (liver,) = (i for i in sample.instances if i.concept == "liver")
            inside = numbers(sample)[liver.region.mask(sample.image.size)]
            expected = 60.0 if sample.extra["modality"] == "CT" else 2.3 * 3000 if activity else 2.3
            assert np.median(inside) == pytest.approx(expected, rel=1e-3)
        assert not activity or name == "L1 BIDS"


def test_only_a_resampled_image_says_what_lies_outside(phantom: Path) -> None:
    resampled = set()
    for name in LAYOUTS:
        for sample in samples_of(phantom / name):
            if sample.extra["modality"] == "PT" or sample.extra["original_grid"]["shape"] == list(SHAPE):  # type: ignore[index]
                assert "outside" not in sample.extra
            else:
                assert sample.extra["outside"] == -1000
                resampled.add(name)
    assert resampled == {"L1 BIDS", "L5 HECKTOR", "L7 DICOM"}
    hecktor = samples_of(phantom / "L5 HECKTOR")
    assert all("masks_resampled" in s.extra["flags"] for s in hecktor)  # type: ignore[operator]


def test_suv_of_dicom_is_computed_and_of_nifti_as_supplied(phantom: Path) -> None:
    def flags_of(sample: Sample) -> list[str]:
        flags = sample.extra["flags"]
        assert isinstance(flags, list)
        return flags

    flags = {
        name: {
            flag for s in samples_of(phantom / name) if s.extra["modality"] == "PT" for flag in flags_of(s)
        }
        for name in ("L2 flat", "L7 DICOM")
    }
    assert "suv_as_supplied" in flags["L2 flat"]
    assert "suv_reference:series_time" in flags["L7 DICOM"]


# ---- label tables ----


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("L2 flat", "table.csv"),
        ("L3 autoPET", "**/labels.json"),
        ("L5 HECKTOR", "labels.json"),
        ("L6 ENHANCE", "labels.json"),
    ],
)
def test_integers_without_a_table_are_refused(layout: Callable[[str], Path], name: str, table: str) -> None:
    root = layout(name)
    next(root.glob(table)).unlink()
    assert refusal(root).code == "label_table_missing"


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ('{"1": "brain"}', "unknown_label", "which the label table does not list: 1 brain"),
        ('["brain"]', "label_table_invalid", "no JSON object"),
        ("{", "label_table_invalid", "no JSON object"),
        ("{}", "label_table_invalid", "no entry"),
        ('{"brain": [1, 2]}', "label_table_invalid", "list"),
        ('{"brain": 1, "lung": 1}', "label_table_invalid", "stands for 'brain' and for 'lung'"),
        ('{"Thorax": {"1": "lung"}, "Head": {"1": "brain"}}', "label_table_invalid", "expected an object"),
    ],
)
def test_wrong_tables_are_refused(layout: Callable[[str], Path], content: str, code: str, says: str) -> None:
    root = layout("L5 HECKTOR")
    (root / "labels.json").write_text(content)
    reject = refusal(root)
    assert reject.code == code
    assert says in reject.message


def test_a_table_with_an_unknown_name_is_refused(layout: Callable[[str], Path]) -> None:
    root = layout("L2 flat")
    table = (root / "table.csv").read_text()
    (root / "table.csv").write_text(table.replace("Brain", "Gehirn"))
    reject = refusal(root)
    assert (reject.code, "calls 1 'Gehirn'" in reject.message) == ("unknown_label", True)


def test_two_tables_in_one_folder_are_refused(layout: Callable[[str], Path]) -> None:
    root = layout("L2 flat")
    (root / "labels.json").write_text('{"1": "liver"}')
    assert refusal(root).code == "label_table_conflict"


def test_a_table_above_the_layout_counts_and_a_nearer_one_goes_first(layout: Callable[[str], Path]) -> None:
    root = layout("L5 HECKTOR")
    (root / "labels.json").rename(root.parent / "labels.json")
    whole = samples_of(root.parent)
    assert {i.concept for s in whole for i in s.instances} >= {"brain", "liver"}
    (root / "P06" / "labels.json").write_text('{"1": "brain"}')
    assert refusal(root.parent).code == "unknown_label"


@pytest.mark.parametrize("spelling", ["Oesophagus", "ESOPHAGUS", " esophagus "])
def test_spellings_of_an_organ(layout: Callable[[str], Path], spelling: str) -> None:
    root = layout("L5 HECKTOR")
    table = json.loads((root / "labels.json").read_text())
    table[spelling] = table.pop("esophagus")
    (root / "labels.json").write_text(json.dumps(table))
    assert "esophagus" in {i.concept for s in samples_of(root) for i in s.instances}


def test_an_unknown_mask_is_named(layout: Callable[[str], Path]) -> None:
    root = layout("L1 BIDS")
    shutil.rmtree(root / "sub-P01")
    folder = root / "sub-P02" / "ses-a" / "segmentations"
    (folder / "brain.nii.gz").rename(folder / "spline.nii.gz")
    reject = refusal(root)
    assert (reject.code, "'spline'" in reject.message) == ("unknown_label", True)


def test_structures_that_are_no_targets_are_passed_over(layout: Callable[[str], Path]) -> None:
    """A folder of TotalSegmentator holds a hundred more; they are known, and ignored."""
    root = layout("L1 BIDS")
    shutil.rmtree(root / "sub-P01")
    folder = root / "sub-P02" / "ses-a" / "segmentations"
    for name in ("rib_left_1", "vertebrae_L3", "gallbladder"):
        shutil.copy(folder / "brain.nii.gz", folder / f"{name}.nii.gz")
    assert len({i.concept for s in samples_of(root) for i in s.instances}) == 13


def test_an_emptied_mask_does_not_say_that_its_organ_is_absent(layout: Callable[[str], Path]) -> None:
    root = layout("L1 BIDS")
    shutil.rmtree(root / "sub-P01")
    whole = samples_of(root)
    edit_nifti(root / "sub-P02" / "ses-a" / "segmentations" / "liver.nii.gz", times=0)
    for before, after in zip(whole, samples_of(root), strict=False):
        assert before.concepts is not None
        assert "liver" in before.concepts
        assert after.concepts == tuple(c for c in before.concepts if c != "liver")


def test_masks_without_a_voxel_and_images_without_a_value_are_refused(layout: Callable[[str], Path]) -> None:
    root = layout("L2 flat")
    edit_nifti(next(root.rglob("*_ct_res.nii.gz")), times=0)
    assert refusal(root).code == "images_apart"
    edit_nifti(next(root.rglob("*_organs.nii.gz")), times=0)
    assert refusal(root).code == "missing_mask"


def test_swapped_sides_are_flagged(layout: Callable[[str], Path]) -> None:
    root = layout("L5 HECKTOR")
    table = json.loads((root / "labels.json").read_text())
    table["left kidney"], table["right kidney"] = table["right kidney"], table["left kidney"]
    (root / "labels.json").write_text(json.dumps(table))
    assert all("left_and_right_swapped" in s.extra["flags"] for s in samples_of(root))  # type: ignore[operator]


# ---- pairs ----


@pytest.mark.parametrize(
    ("name", "gone", "code"),
    [
        ("L2 flat", "**/*_ct_res.nii.gz", "missing_image"),
        ("L2 flat", "**/*_organs.nii.gz", "missing_mask"),
        ("L3 autoPET", "**/CT*.nii.gz", "missing_image"),
        ("L4 nnU-Net", "imagesTr/*_0000.nii.gz", "missing_image"),
        ("L4 nnU-Net", "labelsTr/*", "missing_mask"),
        ("L5 HECKTOR", "**/*__CT.nii.gz", "missing_image"),
        ("L6 ENHANCE", "**/CT_*/*", "missing_image"),
        ("L6 ENHANCE", "**/Organs/*", "unknown_label"),  # a family of other structures is left
        ("L7 DICOM", "**/2-CT/*", "missing_image"),
        ("L7 DICOM", "**/1-PET/*", "missing_image"),
        ("L7 DICOM", "**/3-SEG/*", "missing_mask"),
        ("L8 organs", "*/ct_UMD/imagesTr/*", "missing_image"),
    ],
)
def test_missing_halves_are_named(layout: Callable[[str], Path], name: str, gone: str, code: str) -> None:
    root = layout(name)
    for path in list(root.glob(gone)):
        path.unlink()
    assert refusal(root).code == code


def test_two_images_of_a_kind_are_not_chosen_between(layout: Callable[[str], Path]) -> None:
    root = layout("L1 BIDS")
    shutil.rmtree(root / "sub-P02")
    anatomy = root / "sub-P01" / "anat"
    shutil.copy(anatomy / "sub-P01_ct.nii.gz", anatomy / "sub-P01_run-2_ct.nii.gz")
    assert refusal(root).code == "several_images"


# ---- grids, units ----


@pytest.mark.parametrize(
    ("name", "moved", "code"),
    [
        ("L2 flat", "**/*_ct_res.nii.gz", "grid_mismatch"),
        ("L2 flat", "**/*_organs.nii.gz", "grid_mismatch"),
        ("L3 autoPET", "**/CTres.nii.gz", "grid_mismatch"),
        ("L4 nnU-Net", "imagesTr/*_0001.nii.gz", "grid_mismatch"),
        ("L5 HECKTOR", "**/P06.nii.gz", "grid_mismatch"),
        ("L8 organs", "spleen/*/labelsTr/*", "grid_mismatch"),
    ],
)
def test_a_shifted_grid_is_refused(layout: Callable[[str], Path], name: str, moved: str, code: str) -> None:
    root = layout(name)
    for path in root.glob(moved):
        edit_nifti(path, shift(30))
    assert refusal(root).code == code


def test_images_of_different_places_are_refused(layout: Callable[[str], Path]) -> None:
    root = layout("L5 HECKTOR")
    edit_nifti(root / "P06" / "P06__PT.nii.gz", shift(1000))
    assert refusal(root).code == "images_apart"


def test_another_frame_of_reference_is_refused(layout: Callable[[str], Path]) -> None:
    root = layout("L7 DICOM")
    for path in root.glob("**/2-CT/*"):
        ds = pydicom.dcmread(path)
        ds.FrameOfReferenceUID = "1.2.3"
        ds.save_as(path)
    assert refusal(root).code == "frame_of_reference_differs"


@pytest.mark.parametrize(
    ("name", "path"), [("L2 flat", "**/*_pet_suv.nii.gz"), ("L3 autoPET", "**/SUV.nii.gz")]
)
def test_activity_that_calls_itself_suv_is_refused(
    layout: Callable[[str], Path], name: str, path: str
) -> None:
    root = layout(name)
    edit_nifti(next(root.glob(path)), times=3000)
    assert refusal(root).code == "not_suv"


def test_activity_without_a_claim_is_taken_for_what_it_is(layout: Callable[[str], Path]) -> None:
    root = layout("L5 HECKTOR")
    edit_nifti(root / "P06" / "P06__PT.nii.gz", times=3000)
    assert {s.intensity.unit for s in samples_of(root) if s.intensity} == {"HU", "Bq/ml"}


def test_an_odd_liver_is_flagged(layout: Callable[[str], Path]) -> None:
    root = layout("L2 flat")
    pets = [s for s in samples_of(root) if s.extra["modality"] == "PT"]
    assert pets[0].extra["liver_median"] == pytest.approx(2.3, abs=1e-3)
    assert "liver_suv_unusual" not in pets[0].extra["flags"]  # type: ignore[operator]
    edit_nifti(next(root.glob("**/*_pet_suv.nii.gz")), times=2)
    pets = [s for s in samples_of(root) if s.extra["modality"] == "PT"]
    assert "liver_suv_unusual" in pets[0].extra["flags"]  # type: ignore[operator]


# ---- nnU-Net's channels ----


@pytest.mark.parametrize(
    ("channels", "code"),
    [({"0": "CT", "1": "CT"}, "channels_unknown"), ({"0": "noNorm", "1": "zscore"}, "channels_unknown")],
)
def test_channels_that_are_not_told_apart(
    layout: Callable[[str], Path], channels: dict[str, str], code: str
) -> None:
    root = layout("L4 nnU-Net")
    facts = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**facts, "channel_names": channels}))
    assert refusal(root).code == code


# ---- DICOM ----


def test_dicom_in_one_flat_folder_in_any_order(layout: Callable[[str], Path], tmp_path: Path) -> None:
    root = layout("L7 DICOM")
    before = [(s.key, s.image.pixels.tobytes(), [i.area for i in s.instances]) for s in samples_of(root)]
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(p for p in root.rglob("*") if p.is_file())[::-1]):
        shutil.copy(path, flat / f"IM{number:05d}")
    assert [
        (s.key, s.image.pixels.tobytes(), [i.area for i in s.instances]) for s in samples_of(flat)
    ] == before


def test_dicom_images_with_nifti_masks(layout: Callable[[str], Path]) -> None:
    """The same grid in another order of axes: a label map with a table, in the study's folder."""
    root = layout("L7 DICOM")
    expected = [sorted((i.concept, i.area) for i in s.instances) for s in samples_of(root)]
    shutil.rmtree(next(root.glob("**/3-SEG")))
    from medshards.curate.phantoms.bodies.anatomy import draw, label_map, save_nifti

    study = next(root.glob("P08/*"))
    ids = dict(enumerate(ORGANS, start=1))
    save_nifti(study / "labels.nii.gz", label_map(draw(np.random.default_rng(0), "CT"), ids), ras=True)
    assert refusal(root).code == "label_table_missing"
    (study / "labels.csv").write_text("id,name\n" + "".join(f"{n},{name}\n" for n, name in ids.items()))
    assert [sorted((i.concept, i.area) for i in s.instances) for s in samples_of(root)] == expected


def test_other_objects_beside_the_study_are_counted(layout: Callable[[str], Path]) -> None:
    root = layout("L7 DICOM")
    report = pydicom.dcmread(next(root.glob("**/1-PET/*")))
    report.Modality = "SR"
    report.save_as(root / "report")
    listing = list_download(SOURCE, root)
    assert [reason for _, reason in listing.skips] == [
        "DICOM object that is neither PET, CT, MR, RTSTRUCT nor SEG"
    ]
    assert len(listing.cases) == 1


def test_contours_of_a_real_patient(samples: Path, tmp_path: Path) -> None:
    """With its ROI called an organ, the RTSTRUCT on the PET gives the author's 555 voxels, on PET and CT alike."""
    patient = samples / "pet_dicom" / "soft_tissue_sarcoma" / "sts_images" / "STS_002"
    if not patient.is_dir():
        pytest.skip("no sarcoma patient among the samples")
    for part in ("PET/dicom", "CT/dicom/image"):
        shutil.copytree(patient / part, tmp_path / part)
    reject = refusal(tmp_path)
    assert (reject.code, "GTV" in reject.message) == ("unknown_label", False)
    (tmp_path / "roi.csv").write_text("id,name\nGTV Mass PET,liver\n")
    found = samples_of(tmp_path)
    truth = np.asarray(nib.Nifti1Image.from_filename(patient / "PET/nifti/mask/mask.nii.gz").dataobj) > 0
    for modality in ("PT", "CT"):
        own = [s for s in found if s.extra["modality"] == modality]
        assert sum(i.area for s in own for i in s.instances) == truth.sum()
    pet = [s for s in found if s.extra["modality"] == "PT"]
    assert max(numbers(s).max() for s in pet) == pytest.approx(21.6757, abs=1e-3)


# ---- patients ----


def groups(root: Path, slug: str) -> dict[str, str | None]:
    return {case.group: case.split for case in list_download(get_source(slug), root).cases}


def test_patients_are_the_same_in_both_halves_by_the_crosswalk(phantom: Path, tmp_path: Path) -> None:
    write_phantom("umd_petmr", tmp_path)
    first, second = groups(phantom, "umd_petct"), groups(tmp_path, "umd_petmr")
    assert first == second
    assert len(first) == 9
    assert set(first.values()) == {"train", "val"}


def test_without_a_crosswalk_no_split_is_claimed(phantom: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom, tmp_path / "a", ignore=shutil.ignore_patterns("crosswalk.csv"))
    found = groups(tmp_path / "a", "umd_petct")
    assert set(found.values()) == {None}
    (tmp_path / "who.csv").write_text("petct_id,petmr_id\nP03,M77\n")  # beside the download
    joined = groups(tmp_path / "a", "umd_petct")
    assert sorted(map(str, joined.values())) == ["None"] * 8 + ["train"]


def test_crosswalks_that_differ_are_refused(phantom: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom, tmp_path / "a")
    (tmp_path / "a" / "other.csv").write_text("petct_id,petmr_id\nP03,M77\n")
    with pytest.raises(Reject, match="crosswalk_conflict"):
        list_download(SOURCE, tmp_path / "a")


def test_studies_of_one_patient_are_one_group(layout: Callable[[str], Path]) -> None:
    root = layout("L3 autoPET")
    shutil.copytree(next(root.glob("P04/*")), root / "P04" / "a later study")
    cases = list_download(SOURCE, root).cases
    assert len({case.key for case in cases}) == 2
    assert len({case.group for case in cases}) == 1


def test_the_archive_itself_and_one_patient_alone(
    layout: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))
    for name in ("L2 flat", "L7 DICOM"):
        root = layout(name)
        keys = [s.key for s in samples_of(root)]
        with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
            for path in (p for p in root.rglob("*") if p.is_file()):
                archive.write(path, path.relative_to(root.parent))
        assert [s.key for s in samples_of(tmp_path / "raw.zip")] == keys
        patient = next(p for p in sorted(root.iterdir()) if p.is_dir())
        assert [s.key for s in samples_of(patient)] == keys


def test_another_folder_is_refused_without_its_names(tmp_path: Path) -> None:
    (tmp_path / "raw" / "Doe John").mkdir(parents=True)
    (tmp_path / "raw" / "Doe John" / "Doe.txt").write_text("")
    with pytest.raises(Reject) as caught:
        list_download(SOURCE, tmp_path / "raw")
    assert caught.value.code == "not_recognised"
    assert "Doe" not in str(caught.value)
