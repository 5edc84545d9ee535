"""Intraretinal fluid: mirrored copies share a group, the stray mask is left, pickles are never opened."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.intraretinal_fluid.phantom import COPIES
from medshards.curate.formats.pictures import raster
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.curate.tree import File
from tests.samples import samples_at, samples_of

SOURCE = get_source("intraretinal_fluid")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("intraretinal_fluid", tmp_path)
    return tmp_path / "2021-training-data-ZA/2021-training-data-ZA"


def test_real_samples(real: Path) -> None:
    listing = list_download(SOURCE, real)
    images = sorted(real.glob("**/images/*.jpeg"))
    assert images
    for path in images:
        pixels = raster.read_image(File(path.name, path)).pixels
        assert pixels.shape[:2] == PIL.Image.open(path).size[::-1]
        has_mask = any(path.parents[1].glob("masks/*"))
        named = (
            [c.key for c in listing.cases]
            if has_mask
            else [r["file"].split("/")[-3] for r in listing.rejects]
        )
        assert path.parents[1].name in named
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        assert sample.instances[0].area > 0


def test_mirror_images_share_a_group(phantom: Path) -> None:
    groups = {key: sample.group for key, sample in samples_at(SOURCE, phantom).items()}
    assert all(groups[name] == groups[copy] for name, copy in COPIES.items())
    assert len(set(groups.values())) == len(COPIES)


def test_stray_mask_of_another_sample_is_not_read(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert [(f.rpartition("/")[2], r) for f, r in listing.skips] == [
        ("MASK-DME511.png", "second mask, of another sample by its number")
    ]
    (case,) = [c for c in listing.cases if c.key == "815DME_F"]
    assert case.files["mask"].stem == "815DME_F_mask"


def test_a_single_mask_may_have_any_name(phantom: Path) -> None:
    folder = phantom / "DME511/masks"
    (folder / "DME511_mask.png").rename(folder / "MASK-7.png")
    assert len(samples_at(SOURCE, phantom)) == 8


def test_two_masks_that_no_number_tells_apart_are_refused(phantom: Path) -> None:
    folder = phantom / "dme_a10/masks"
    shutil.copy(folder / "dme_a10_mask.png", folder / "dme_a10_mask2.png")
    listing = list_download(SOURCE, phantom)
    assert [r["code"] for r in listing.rejects] == ["ambiguous"] * 3
    assert "dme_a10" not in {c.key for c in listing.cases}


def test_missing_halves_are_named(phantom: Path) -> None:
    shutil.rmtree(phantom / "dme_a1/masks")
    shutil.rmtree(phantom / "dme_a10/images")
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_mask", "dme_a1/images/dme_a1.jpeg"),
        ("missing_image", "dme_a10/masks/dme_a10_mask.png"),
    }


def test_noise_of_a_mask_is_cut_in_the_middle(phantom: Path) -> None:
    path = phantom / "dme_a1/masks/dme_a1_mask.png"
    mask = np.array(PIL.Image.open(path))
    noisy = np.clip(mask.astype(int) + np.where(mask > 0, -20, 20), 0, 255).astype(np.uint8)
    PIL.Image.fromarray(np.dstack([noisy] * 3)).save(path)
    assert samples_at(SOURCE, phantom)["dme_a1"].instances[0].area == (mask > 0).sum()


def test_sizes_must_agree(phantom: Path) -> None:
    PIL.Image.new("L", (512, 496)).save(phantom / "dme_a1/masks/dme_a1_mask.png")
    with pytest.raises(Reject, match="size_mismatch"):
        samples_at(SOURCE, phantom)


def test_repacked_version_is_not_recognised(tmp_path: Path) -> None:
    for folder in ("train_images", "train_masks"):
        (tmp_path / folder).mkdir()
        PIL.Image.new("L", (8, 8)).save(tmp_path / folder / "DME1.jpeg")
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, tmp_path)
