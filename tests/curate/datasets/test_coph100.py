"""COph100: photographs found by name, patients kept together, masks of two values whatever they are."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import get_source

SOURCE = get_source("coph100")


def load_all(root: Path) -> dict[str, Sample]:
    return {case.key: sample for case in list_download(SOURCE, root).cases for sample in SOURCE.load(case)}


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("coph100", tmp_path)
    return tmp_path


def test_real_samples(real: Path) -> None:
    masks = sorted(real.glob("**/*_mask.png"))
    if not masks:
        pytest.skip("no mask among the samples")
    for key, sample in load_all(real).items():
        assert sample.group == key[:3]
        assert sample.instances[0].area > 0


def test_masks_go_with_the_photograph_of_their_name(phantom: Path) -> None:
    found = load_all(phantom)
    assert len(found) == 6
    for case in list_download(SOURCE, phantom).cases:
        assert case.files["mask"].stem == f"{case.files['image'].stem}_mask"
        drawn = np.array(PIL.Image.open(case.files["mask"].path)) > 0
        assert np.array_equal(found[case.key].instances[0].region.mask(drawn.shape), drawn)


def test_all_eyes_and_examinations_of_a_patient_are_a_group(phantom: Path) -> None:
    groups = {key: sample.group for key, sample in load_all(phantom).items()}
    assert all(group == key[:3] for key, group in groups.items())
    assert sorted(groups.values()) == ["002", "002", "055", "055", "055", "101"]


@pytest.mark.parametrize("place", ["beside", "flat"])
def test_photographs_may_lie_anywhere(phantom: Path, place: str) -> None:
    for photograph in sorted((phantom / "RIDIRP").glob("**/*.jpg")):
        mask = next((phantom / "COph100").glob(f"*/{photograph.stem}_mask.png"), None)
        if place == "flat":
            target = phantom / "images_stack"
        elif mask is not None:
            target = mask.parent
        else:
            continue
        target.mkdir(exist_ok=True)
        shutil.move(photograph, target / photograph.name)
    shutil.rmtree(phantom / "RIDIRP")
    root = phantom / "COph100" if place == "beside" else phantom
    assert len(load_all(root)) == 6
    assert not list_download(SOURCE, root).rejects


def test_photograph_among_masks_without_its_own_is_named(phantom: Path) -> None:
    extra = phantom / "COph100/101/101_F_GA30_BW1100_PA44_DG111_DG20_PF0_D1_S1_4.jpg"
    PIL.Image.new("RGB", (128, 96)).save(extra)
    (reject,) = list_download(SOURCE, phantom).rejects
    assert (reject["code"], reject["file"].rpartition("/")[2]) == ("missing_mask", extra.name)


def test_figshare_archive_alone_says_what_is_missing(phantom: Path) -> None:
    shutil.rmtree(phantom / "RIDIRP")
    rejects = list_download(SOURCE, phantom).rejects
    assert {r["code"] for r in rejects} == {"missing_image"}
    assert len(rejects) == 6
    assert "put the images of RIDIRP beside it" in rejects[0]["message"]


@pytest.mark.parametrize("value", [1, 255])
def test_any_single_value_is_vessel(phantom: Path, value: int) -> None:
    path = next(phantom.glob("COph100/101/*_mask.png"))
    mask = np.array(PIL.Image.open(path)) > 0
    PIL.Image.fromarray(mask.astype(np.uint8) * value).save(path)
    (sample,) = [s for s in load_all(phantom).values() if s.group == "101"]
    assert sample.instances[0].area == mask.sum()


def test_soft_mask_is_refused(phantom: Path) -> None:
    path = next(phantom.glob("COph100/101/*_mask.png"))
    mask = np.array(PIL.Image.open(path))
    mask[0, 0] = 90
    PIL.Image.fromarray(mask).save(path)
    with pytest.raises(Reject, match=r"_mask\.png: unknown_label: 2 grey values, from 90 to 255"):
        load_all(phantom)


def test_sizes_must_agree(phantom: Path) -> None:
    path = next(phantom.glob("COph100/101/*_mask.png"))
    PIL.Image.new("L", (640, 480)).save(path)
    with pytest.raises(Reject, match="size_mismatch"):
        load_all(phantom)
