"""Chest Xray Masks: both ways to name masks, the tree once, soft borders, NLM's masks of single lungs united."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.masks import components
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import get_source
from tests.samples import samples_of

SOURCE = get_source("chest_xray_masks")


def load_all(root: Path) -> dict[str, Sample]:
    """Samples by name of their image, as published."""
    cases = list_download(SOURCE, root).cases
    return {case.files["image"].path.stem: sample for case in cases for sample in samples_of(SOURCE, case)}


def published(root: Path, name: str) -> str:
    """Path below `root` of the file that the project gives a name."""
    (tree, *_) = SOURCE.open(root)
    return next(f.path.relative_to(root).as_posix() for f in tree.files.values() if f.name == name)


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("chest_xray_masks", tmp_path)
    return tmp_path


def test_real_samples(real: Path) -> None:
    listing = list_download(SOURCE, real)
    assert listing.cases
    assert not listing.rejects
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        image = case.files["image"].path
        suffix = "_mask" if case.key.startswith("CHN") else ""
        mask = np.asarray(
            PIL.Image.open(image.parents[1] / "masks" / f"{image.stem}{suffix}.png").convert("L")
        )
        (lungs,) = sample.instances
        assert sample.image.size == mask.shape
        assert np.array_equal(lungs.region.mask(mask.shape), mask > 127), case.key
        assert sum(c.area > 500 for c in components(mask > 127)) == 2


def test_both_names_of_masks_are_found_and_the_second_tree_passed_over(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert {case.key[:3] for case in listing.cases} == {"MCU", "CHN"}
    assert all(case.files["image"].path.parts[-3] == "Lung Segmentation" for case in listing.cases)
    assert not any(case.files["image"].path.is_relative_to(phantom / "data") for case in listing.cases)
    reasons = [reason for _, reason in listing.skips]
    assert reasons.count("second copy of the tree") == 6
    assert reasons.count("Shenzhen image without mask, as 96 are published") == 1


def test_single_tree_below_data(phantom: Path) -> None:
    shutil.rmtree(phantom / "Lung Segmentation")
    assert len(load_all(phantom)) == 5


def test_shenzhen_image_without_mask_is_skipped_and_montgomery_rejected(phantom: Path) -> None:
    shutil.rmtree(phantom / "data")
    folder = phantom / "Lung Segmentation"
    (folder / "masks/MCUCXR_0001_0.png").unlink()
    (folder / "CXR_png/MCUCXR_0104_1.png").unlink()
    listing = list_download(SOURCE, phantom)
    assert [(Path(published(phantom, file)).name, reason) for file, reason in listing.skips] == [
        ("CHNCXR_0004_0.png", "Shenzhen image without mask, as 96 are published")
    ]
    assert {(r["code"], Path(published(phantom, r["file"])).name) for r in listing.rejects} == {
        ("missing_mask", "MCUCXR_0001_0.png"),
        ("missing_image", "MCUCXR_0104_1.png"),
    }


def test_soft_borders_are_cut_in_the_middle_and_16_bit_images_keep_their_numbers(phantom: Path) -> None:
    folder = phantom / "Lung Segmentation"
    mask = np.zeros((100, 82), np.uint8)
    mask[20:60, 10:30] = 255
    mask[20:60, 30] = 128
    mask[20:60, 31] = 127
    PIL.Image.fromarray(mask).save(folder / "masks/MCUCXR_0001_0.png")
    deep = (np.arange(8200, dtype=np.uint16).reshape(100, 82)) % 4096
    PIL.Image.fromarray(deep).save(folder / "CXR_png/MCUCXR_0001_0.png")
    sample = load_all(phantom)["MCUCXR_0001_0"]
    assert sample.instances[0].area == 40 * 21
    assert np.array_equal(sample.image.pixels, deep)


def test_sizes_must_agree(phantom: Path) -> None:
    PIL.Image.new("L", (82, 100)).save(phantom / "Lung Segmentation/masks/MCUCXR_0104_1.png")
    with pytest.raises(Reject, match=r"^[0-9a-f/]{33}\.png: size_mismatch"):
        load_all(phantom)


def test_montgomery_masks_of_single_lungs_are_united(phantom: Path) -> None:
    shutil.rmtree(phantom / "data")
    ours = phantom / "Lung Segmentation"
    theirs = phantom / "MontgomerySet"
    expected = load_all(phantom)
    for stem in ("MCUCXR_0001_0", "MCUCXR_0104_1"):
        (theirs / "CXR_png").mkdir(parents=True, exist_ok=True)
        shutil.copy(ours / f"CXR_png/{stem}.png", theirs / f"CXR_png/{stem}.png")
        mask = np.asarray(PIL.Image.open(ours / f"masks/{stem}.png"))
        half = mask.shape[1] // 2
        for lung, columns in (("leftMask", slice(half, None)), ("rightMask", slice(0, half))):
            side = np.zeros_like(mask)
            side[:, columns] = mask[:, columns]
            (theirs / "ManualMask" / lung).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(side).save(theirs / "ManualMask" / lung / f"{stem}.png")
    shutil.rmtree(ours)
    found = load_all(phantom)
    assert set(found) == {"MCUCXR_0001_0", "MCUCXR_0104_1"}
    for key, sample in found.items():
        size = sample.image.size
        same = expected[key].instances[0].region.mask(size)
        assert np.array_equal(sample.instances[0].region.mask(size), same)
    (theirs / "ManualMask/leftMask/MCUCXR_0001_0.png").unlink()
    rejects = list_download(SOURCE, phantom).rejects
    assert {(r["code"], published(phantom, r["file"])) for r in rejects} == {
        ("missing_mask", "MontgomerySet/CXR_png/MCUCXR_0001_0.png"),
        ("missing_mask", "MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png"),
    }
