"""CHASE_DB1: 1-bit masks of the first observer, both eyes of a child in one group."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("chase_db1")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("chase_db1", tmp_path)
    return tmp_path / "CHASE_DB1"


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "chase_db1")
    assert not listing.rejects
    assert listing.cases
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        first = case.files["image"].path.with_name(f"{case.key}_1stHO.png")
        drawn = np.asarray(PIL.Image.open(first)).astype(bool)
        (vessels,) = sample.instances
        assert vessels.concept == "retinal_vessel"
        assert np.array_equal(vessels.region.mask(sample.image.size), drawn), case.key
        assert sample.image.size == (960, 999)
        assert sample.image.encoded == case.files["image"].path.read_bytes()
        assert sample.group == case.key[6:8]


def test_first_observer_alone_is_read(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    first = np.asarray(PIL.Image.open(phantom / "Image_01L_1stHO.png"))
    second = np.asarray(PIL.Image.open(phantom / "Image_01L_2ndHO.png"))
    assert first.dtype == bool
    assert not np.array_equal(first, second)
    (vessels,) = found["Image_01L"].instances
    assert np.array_equal(vessels.region.mask(first.shape), first)


def test_both_eyes_of_a_child_are_one_group(phantom: Path) -> None:
    groups = {key: sample.group for key, sample in samples_at(SOURCE, phantom).items()}
    assert groups["Image_14L"] == groups["Image_14R"] != groups["Image_02L"]
    assert set(groups.values()) == {"01", "02", "14"}


@pytest.mark.parametrize("masks", ["Masks", "Labels"])
def test_copies_in_folders_are_read_alike(phantom: Path, masks: str) -> None:
    flat = samples_at(SOURCE, phantom)
    for file in list(phantom.glob("*.*")):
        folder = phantom / (masks if file.suffix == ".png" else "Images")
        folder.mkdir(exist_ok=True)
        file.rename(folder / file.name)
    assert {k: s.instances[0].area for k, s in samples_at(SOURCE, phantom).items()} == {
        k: s.instances[0].area for k, s in flat.items()
    }


def test_missing_halves_are_named(phantom: Path) -> None:
    (phantom / "Image_01L_1stHO.png").unlink()  # the second observer's mask does not stand in for it
    (phantom / "Image_02R.jpg").unlink()
    listing = list_download(SOURCE, phantom)
    assert {(r["code"], r["file"]) for r in listing.rejects} == {
        ("missing_mask", "Image_01L.jpg"),
        ("missing_image", "Image_02R_1stHO.png"),
    }
    assert len(listing.cases) == 4


def test_mask_of_another_size_is_refused(phantom: Path) -> None:
    PIL.Image.new("1", (1280, 960)).save(phantom / "Image_01L_1stHO.png")
    with pytest.raises(Reject, match="size_mismatch"):
        samples_at(SOURCE, phantom)
