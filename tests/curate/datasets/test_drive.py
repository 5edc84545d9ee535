"""DRIVE: first observer only, split by folder, test images without manual are skipped, renumbered copies refused."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("drive")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("drive", tmp_path)
    return tmp_path / "DRIVE"


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "drive")
    assert not listing.rejects
    assert listing.cases
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        number, split = case.key.split("_")
        assert (sample.official_split, sample.group) == (split, number)
        assert sample.image.size == (584, 565)
        manual = next((samples / "drive").glob(f"**/{split}/1st_manual/{number}_manual1.gif"))
        drawn = np.asarray(PIL.Image.open(manual).convert("L")) > 127
        (vessels,) = sample.instances
        assert vessels.concept == "retinal_vessel"
        assert np.array_equal(vessels.region.mask(sample.image.size), drawn), case.key


def test_field_of_view_and_second_observer_are_not_read(phantom: Path) -> None:
    for file in [*phantom.glob("*/mask/*.gif"), *phantom.glob("*/2nd_manual/*.gif")]:
        file.write_bytes(b"no picture")
    assert len(samples_at(SOURCE, phantom)) == 8


def test_training_folder_alone_as_root(phantom: Path) -> None:
    shutil.rmtree(phantom / "test")
    assert {s.official_split for s in samples_at(SOURCE, phantom / "training").values()} == {"training"}


def test_missing_halves_are_named(phantom: Path) -> None:
    (phantom / "training/1st_manual/21_manual1.gif").unlink()
    (phantom / "training/images/22_training.tif").unlink()
    listing = list_download(SOURCE, phantom)
    assert {(r["code"], r["file"]) for r in listing.rejects} == {
        ("missing_mask", "training/images/21_training.tif"),
        ("missing_image", "training/1st_manual/22_manual1.gif"),
    }
    assert [file for file, _ in listing.skips] == ["test/images/03_test.tif"]


def test_lfs_pointer_is_refused(phantom: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 729790\n"
    (phantom / "training/images/21_training.tif").write_bytes(pointer)
    with pytest.raises(Reject, match=r"21_training.tif: lfs_pointer"):
        samples_at(SOURCE, phantom)


def test_renumbered_copy_is_refused_whole(phantom: Path) -> None:
    for folder, name in (("images", "{}_training.tif"), ("1st_manual", "{}_manual1.gif")):
        shutil.copy(
            phantom / "training" / folder / name.format(21), phantom / "training" / folder / name.format(99)
        )
    listing = list_download(SOURCE, phantom)
    assert [r["code"] for r in listing.rejects] == ["not_native"]
    assert {case.split for case in listing.cases} == {"test"}


@pytest.mark.parametrize("flattened", [True, False])
def test_other_folders_are_not_taken_for_drive(phantom: Path, flattened: bool) -> None:
    if flattened:
        for file in list(phantom.glob("*/*/*")):
            target = phantom / file.parent.name / file.name
            target.parent.mkdir(exist_ok=True)
            file.rename(target)
        for split in ("training", "test"):
            shutil.rmtree(phantom / split)
    else:
        shutil.rmtree(phantom / "test")
        (phantom / "training").rename(phantom / "trn")
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, phantom)
