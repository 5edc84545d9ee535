"""Volumes of a user's own: nnU-Net's NIfTI files and MedSAM's npz files come in voxel by voxel, or are refused."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

from medshards.curate.cli.imports import import_
from medshards.curate.listing import list_download
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Own, Skip, get_source

SHAPE = (5, 12, 10)  # slices, rows, columns
LABELS = "dataset: mine\nexhaustive: true\nlabels:\n"
VALUES = LABELS + "  background: {ignore: true, value: 0}\n  liver: {concept: liver, value: 1}\n"
VALUES += "  spleen: {concept: spleen, value: 2}\n"
IDS = LABELS + "  lesion: breast_lesion\n"
SAID = {"title": "Mine", "modality": "CT", "licence": "ours", "homepage": "https://example.org"}
SAID |= {"citation": "us, 2026", "group": r"(p\d+)", "instances": "native"}


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 1500, SHAPE).astype(np.int16)


def labels() -> np.ndarray:
    """Slices 1 to 3 are annotated; the second label lies in two of them."""
    found = np.zeros(SHAPE, np.uint8)
    found[1:4, 2:6, 1:5] = 1
    found[2:4, 8:11, 6:9] = 2
    return found


def run(folder: Path, form: str, text: str) -> Result:
    (folder / "labels.yaml").write_text(text)
    options = [part for name, value in SAID.items() for part in (f"--{name}", value)]
    words = [folder / "data", "--format", form, "--slug", "mine", "--out", folder / "mine"]
    get_source.cache_clear()  # an earlier test may have had a folder of this name
    return CliRunner().invoke(import_, [*map(str, words), "--labels", str(folder / "labels.yaml"), *options])


def load(folder: Path) -> tuple[list[Sample], list[tuple[str, str]]]:
    """The samples, and what was passed over with its reason."""
    get_source.cache_clear()
    source = get_source("mine", Own(folder / "mine/converter.py", folder / "mine/labels.yaml"))
    listing = list_download(source, folder / "data")
    found = [each for case in listing.cases for each in source.load(case)]
    skips = [(each.file, each.reason) for each in found if isinstance(each, Skip)]
    return [each for each in found if isinstance(each, Sample)], [*listing.skips, *skips]


def mask(sample: Sample, label: str) -> np.ndarray:
    parts = [i.region.mask(sample.image.size) for i in sample.instances if i.label == label]
    return np.any(parts, axis=0) if parts else np.zeros(sample.image.size, bool)


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T, affine), path)


def write_nnunet(root: Path, affine: np.ndarray, channel: str = "CT", ending: str = ".nii.gz") -> None:
    for name in ("p01", "p02"):
        save(root / f"imagesTr/{name}_0000{ending}", image(), affine)
        save(root / f"labelsTr/{name}{ending}", labels(), affine)
    save(root / f"imagesTr/p01_0001{ending}", image(), affine)
    save(root / f"imagesTs/p03_0000{ending}", image(), affine)
    told = {
        "channel_names": {"0": channel, "1": "other"},
        "labels": {"background": 0, "liver": 1, "spleen": 2},
    }
    (root / "dataset.json").write_text(json.dumps({**told, "numTraining": 2, "file_ending": ending}))


AXIAL = np.diag([-0.8, -0.7, 3.0, 1.0])  # columns run to the left, rows to the back: nothing is turned


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_nnunet_volumes_come_in_slice_by_slice(tmp_path: Path, ending: str) -> None:
    write_nnunet(tmp_path / "data", AXIAL, ending=ending)
    result = run(tmp_path, "nnunet", VALUES)
    assert result.exit_code == 0, result.output
    samples, skips = load(tmp_path)
    assert [(s.key, s.group) for s in samples] == [
        (f"p0{p}-000{k}", f"p0{p}") for p in (1, 2) for k in (1, 2, 3)
    ]
    for sample in samples:
        assert sample.position is not None
        assert sample.intensity is not None
        k = sample.position.index
        values = sample.image.pixels * sample.intensity.slope + sample.intensity.intercept
        assert (values == image()[k]).all()
        assert sample.intensity.unit == "HU"
        assert sample.spacing == pytest.approx((0.7, 0.8))
        for label, value in (("liver", 1), ("spleen", 2)):
            assert (mask(sample, label) == (labels()[k] == value)).all()
    assert {(Path(file).name.split(".")[0], reason) for file, reason in skips} == {
        ("p01_0001", "a channel other than the first"),
        ("p03_0000", "image without labels"),
    }


def test_the_label_file_that_is_shown_has_the_values(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "data", AXIAL)
    words = [tmp_path / "data", "--format", "nnunet", "--slug", "mine", "--out", tmp_path / "mine"]
    result = CliRunner().invoke(import_, list(map(str, words)))
    assert result.exit_code == 2
    assert '"background": {ignore: true, value: 0}' in result.output
    assert '"spleen": {concept: CONCEPT, value: 2}  # spleen?' in result.output


def test_volumes_of_other_orientation_become_axial(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "data", np.diag([0.8, 0.7, 3.0, 1.0]), channel="T1")
    assert run(tmp_path, "nnunet", VALUES).exit_code == 0
    sample = load(tmp_path)[0][0]
    assert (mask(sample, "liver") == (labels()[1] == 1)[::-1, ::-1]).all()
    assert sample.intensity is not None
    assert sample.intensity.unit == "arbitrary"


def test_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "data", AXIAL)
    save(tmp_path / "data/labelsTr/p02.nii.gz", labels()[:4], AXIAL)
    assert run(tmp_path, "nnunet", VALUES).exit_code == 0  # nothing is decoded yet
    with pytest.raises(Reject, match=r"p02\.nii\.gz: size_mismatch"):
        load(tmp_path)


def test_a_label_that_nobody_explained_is_refused(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "data", AXIAL)
    assert (
        run(tmp_path, "nnunet", VALUES.replace("  spleen: {concept: spleen, value: 2}\n", "")).exit_code == 0
    )
    with pytest.raises(Reject, match="unknown_label: pixel values 2"):
        load(tmp_path)


def test_a_missing_half_is_named(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "data", AXIAL)
    (tmp_path / "data/labelsTr/p02.nii.gz").unlink()
    (tmp_path / "data/imagesTr/p01_0000.nii.gz").unlink()
    result = run(tmp_path, "nnunet", VALUES)
    assert "imagesTr/p02_0000.nii.gz: missing_mask" in result.output
    assert "labelsTr/p01.nii.gz: missing_image" in result.output


def write_medsam(root: Path, **arrays: Any) -> None:
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / "CT_Abd_p01.npz", **arrays)


SHOWN = np.random.default_rng(1).integers(0, 255, SHAPE, np.uint8)


def test_a_volume_of_medsam(tmp_path: Path) -> None:
    write_medsam(tmp_path / "data", imgs=SHOWN, gts=labels(), spacing=np.array([0.8, 0.7, 3.0]))
    assert run(tmp_path, "medsam-npz", VALUES).exit_code == 0
    samples, _ = load(tmp_path)
    assert [s.key for s in samples] == [f"CT_Abd_p01-000{k}" for k in (1, 2, 3)]
    for k, sample in enumerate(samples, start=1):
        assert (sample.image.pixels == SHOWN[k]).all()
        assert sample.group == "p01"
        assert sample.spacing == (0.7, 0.8)
        assert (mask(sample, "spleen") == (labels()[k] == 2)).all()


def test_values_may_be_ids_of_one_label(tmp_path: Path) -> None:
    write_medsam(tmp_path / "data", imgs=SHOWN, gts=labels().astype(np.int32))
    assert run(tmp_path, "medsam-npz", IDS).exit_code == 0
    found = [[(i.label, i.native_id, i.area) for i in s.instances] for s in load(tmp_path)[0]]
    assert found == [[("lesion", 1, 16)], *[[("lesion", 1, 16), ("lesion", 2, 9)]] * 2]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"imgs": SHOWN}, "missing_mask: no array gts"),
        ({"imgs": SHOWN, "gts": labels()[:3]}, "size_mismatch"),
        ({"imgs": SHOWN[0], "gts": labels()}, "bad_shape"),
        ({"imgs": SHOWN, "gts": labels(), "spacing": np.array([1.0, 0.0, 1.0])}, "bad_geometry"),
        ({"imgs": SHOWN, "gts": labels() + 0.5}, "label_not_integer"),
        ({"imgs": SHOWN, "gts": np.array([{"a": 1}], object)}, "unsupported_dtype"),
    ],
)
def test_files_that_cannot_be_trusted_are_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    write_medsam(tmp_path / "data", **arrays)
    assert run(tmp_path, "medsam-npz", VALUES).exit_code == 0
    with pytest.raises(Reject, match=words):
        load(tmp_path)


def test_several_labels_without_values_are_refused(tmp_path: Path) -> None:
    write_medsam(tmp_path / "data", imgs=SHOWN, gts=labels())
    result = run(tmp_path, "medsam-npz", LABELS + "  liver: liver\n  spleen: spleen\n")
    assert result.exit_code == 1
    assert "bad_labels" in result.output
