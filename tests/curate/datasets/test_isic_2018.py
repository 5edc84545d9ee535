"""ISIC 2018: matched by id, official splits, any way to unpack the six archives, Task 2 not read."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("isic_2018")
TRAINING = ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth")


@pytest.fixture
def phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))
    write_phantom("isic_2018", tmp_path / "isic")
    return tmp_path / "isic"


def test_real_samples(real: Path) -> None:
    listing = list_download(SOURCE, real)
    assert listing.cases
    assert not listing.rejects
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        mask = next(real.glob(f"**/{case.key}_segmentation.png"))
        drawn = np.asarray(PIL.Image.open(mask)) == 255
        (lesion,) = sample.instances
        assert lesion.concept == "skin_lesion"
        assert np.array_equal(lesion.region.mask(sample.image.size), drawn)
        picture = np.asarray(PIL.Image.open(case.files["image"].path))
        assert sample.image.size == picture.shape[:2]
        assert np.abs(sample.image.pixels.astype(int) - picture).mean() < 1
        split = case.files["image"].name.split("Task1-2_")[1].split("_Input")[0]
        assert sample.official_split == {"Training": "train", "Validation": "val", "Test": "test"}[split]


def test_official_splits(phantom: Path) -> None:
    splits = [sample.official_split for sample in samples_at(SOURCE, phantom).values()]
    assert {s: splits.count(s) for s in set(splits)} == {"train": 5, "val": 1, "test": 2}


def test_each_archive_unpacked_into_a_folder_of_its_name(phantom: Path) -> None:
    for name in TRAINING:
        (phantom / name).rename(phantom / "inner")
        (phantom / name).mkdir()
        (phantom / "inner").rename(phantom / name / name)
    assert len(samples_at(SOURCE, phantom)) == 8


def test_archives_as_downloaded(phantom: Path) -> None:
    for folder in list(phantom.iterdir()):
        with zipfile.ZipFile(phantom / f"{folder.name}.zip", "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{folder.name}/{file.name}")
        shutil.rmtree(folder)
    assert len(samples_at(SOURCE, phantom)) == 8


def test_an_input_without_its_mask_is_named(phantom: Path) -> None:
    images, masks = (phantom / name for name in TRAINING)
    (masks / "ISIC_0000003_segmentation.png").unlink()
    (images / "ISIC_0036333.jpg").unlink()
    listing = list_download(SOURCE, phantom)
    assert {(r["code"], r["file"]) for r in listing.rejects} == {
        ("missing_mask", f"{TRAINING[0]}/ISIC_0000003.jpg"),
        ("missing_image", f"{TRAINING[1]}/ISIC_0036333_segmentation.png"),
    }
    message = next(r["message"] for r in listing.rejects if r["code"] == "missing_mask")
    assert message == f"no {TRAINING[1]}/ISIC_0000003_segmentation.png"
    shutil.rmtree(masks)
    assert {r["code"] for r in list_download(SOURCE, phantom).rejects} == {"missing_mask"}


def test_resized_or_grey_masks_are_refused(phantom: Path) -> None:
    mask = phantom / TRAINING[1] / "ISIC_0000003_segmentation.png"
    PIL.Image.open(mask).resize((256, 192), PIL.Image.Resampling.NEAREST).save(mask)
    with pytest.raises(Reject, match=r"ISIC_0000003_segmentation\.png: size_mismatch"):
        samples_at(SOURCE, phantom)
    PIL.Image.fromarray(np.full((72, 96), 200, np.uint8)).save(mask)
    with pytest.raises(Reject, match="unknown_label"):
        samples_at(SOURCE, phantom)


def test_renamed_mirror_is_not_recognised(phantom: Path) -> None:
    for name, new in zip(TRAINING, ("images", "masks"), strict=True):
        (phantom / name).rename(phantom / new)
    for folder in phantom.glob("ISIC2018_Task1*"):
        shutil.rmtree(folder)
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, phantom)
