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
from tests.samples import samples_of

SOURCE = get_source("coph100")


def load_all(root: Path) -> dict[str, Sample]:
    """Samples by eye and examination, as published."""
    return {
        f"{case.files['mask'].path.parent.name}/{case.files['image'].path.stem}": sample
        for case in list_download(SOURCE, root).cases
        for sample in samples_of(SOURCE, case)
    }


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("coph100", tmp_path)
    return tmp_path


def test_real_samples(real: Path) -> None:
    masks = sorted(real.glob("**/*_mask.png"))
    if not masks:
        pytest.skip("no mask among the samples")
    for sample in load_all(real).values():
        assert sample.instances[0].area > 0


def test_masks_go_with_the_photograph_of_their_name(phantom: Path) -> None:
    found = load_all(phantom)
    assert len(found) == 6
    for case in list_download(SOURCE, phantom).cases:
        mask, image = (case.files[role].path for role in ("mask", "image"))
        assert mask.stem == f"{image.stem}_mask"
        drawn = np.array(PIL.Image.open(mask)) > 0
        sample = found[f"{mask.parent.name}/{image.stem}"]
        assert np.array_equal(sample.instances[0].region.mask(drawn.shape), drawn)


def test_all_eyes_and_examinations_of_a_patient_are_a_group(phantom: Path) -> None:
    patients: dict[str, set[str]] = {}
    for published, sample in load_all(phantom).items():
        patients.setdefault(published[:3], set()).add(sample.group)
    assert set(patients) == {"002", "055", "101"}
    assert all(len(groups) == 1 for groups in patients.values())
    assert len(set.union(*patients.values())) == 3


def test_names_depend_on_the_key_alone(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(root: Path) -> set[tuple[str, str]]:
        return {(case.key, case.group) for case in list_download(SOURCE, root).cases}

    first = names(phantom)
    shutil.copytree(phantom, tmp_path / "deeper" / "again")
    assert names(tmp_path / "deeper") == first
    monkeypatch.setenv("MEDSHARDS_KEY_FILE", str(tmp_path / "other.key"))
    assert names(phantom).isdisjoint(first)


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
    listing = list_download(SOURCE, phantom)
    (reject,) = listing.rejects
    (tree,) = listing.trees
    assert reject["code"] == "missing_mask"
    assert [f.path for f in tree.files.values() if f.name == reject["file"]] == [extra]


def test_a_name_that_is_none_of_the_dataset_is_refused_without_being_told(phantom: Path) -> None:
    PIL.Image.new("L", (128, 96)).save(phantom / "COph100/101/M_GA30_BW1100.png")
    (reject,) = list_download(SOURCE, phantom).rejects
    assert reject["code"] == "unknown_name"
    assert "GA30" not in str(reject)


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
    (sample,) = [s for published, s in load_all(phantom).items() if published.startswith("101/")]
    assert sample.instances[0].area == mask.sum()


def test_soft_mask_is_refused(phantom: Path) -> None:
    path = next(phantom.glob("COph100/101/*_mask.png"))
    mask = np.array(PIL.Image.open(path))
    mask[0, 0] = 90
    PIL.Image.fromarray(mask).save(path)
    with pytest.raises(
        Reject, match=r"^[0-9a-f]{16}/[0-9a-f]{16}\.png: unknown_label: 2 grey values, from 90 to 255"
    ):
        load_all(phantom)


def test_sizes_must_agree(phantom: Path) -> None:
    path = next(phantom.glob("COph100/101/*_mask.png"))
    PIL.Image.new("L", (640, 480)).save(path)
    with pytest.raises(Reject, match="size_mismatch"):
        load_all(phantom)
