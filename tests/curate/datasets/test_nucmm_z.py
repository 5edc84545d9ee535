"""NucMM: blocks of both species, ids as they are, whole volumes ignored, re-uploads without the species' folder."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from medshards.curate.datasets.nucmm_z.phantom import save
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import position_of, samples_at

SOURCE = get_source("nucmm_z")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("nucmm_z", tmp_path)
    return tmp_path


def test_blocks_of_both_species_with_their_official_split(phantom: Path) -> None:
    cases = list_download(SOURCE, phantom).cases
    assert {(c.key, c.group, c.split) for c in cases} == {
        ("0000_0576_0768", "0000_0576_0768", "train"),
        ("0000_0704_0832", "0000_0704_0832", "train"),
        ("0000_0640_0832", "0000_0640_0832", "val"),
        ("000_200_200", "000_200_200", "train"),
    }


def test_slices_along_z_with_the_ids_of_the_data(phantom: Path) -> None:
    with h5py.File(phantom / "Mouse (NucMM-M)/Label/train/seg_000_200_200.h5") as handle:
        ids = handle["main"][:]
    found = samples_at(SOURCE, phantom)
    for index in (1, 2):
        sample = found[f"000_200_200-{index:04d}"]
        assert (position_of(sample).index, position_of(sample).count) == (index, 4)
        assert [i.native_id for i in sample.instances] == [5, 70001, 123456]
        for instance in sample.instances:
            assert np.array_equal(instance.region.mask((32, 32)), ids[index] == instance.native_id)
    assert "000_200_200-0000" not in found  # no nucleus in it


def test_reupload_without_the_species_folder(phantom: Path) -> None:
    assert list(samples_at(SOURCE, phantom / "Mouse (NucMM-M)")) == ["000_200_200-0001", "000_200_200-0002"]


def test_blank_in_the_folder_name_may_be_missing(phantom: Path) -> None:
    keys = list(samples_at(SOURCE, phantom))
    (phantom / "Zebrafish (NucMM-Z)").rename(phantom / "Zebrafish(NucMM-Z)")
    assert list(samples_at(SOURCE, phantom)) == keys


def test_halves_of_pairs(phantom: Path) -> None:
    (phantom / "Zebrafish (NucMM-Z)/Label/train/seg_0000_0576_0768.h5").unlink()
    (phantom / "Zebrafish (NucMM-Z)/Image/val/img_0000_0640_0832.h5").unlink()
    listing = list_download(SOURCE, phantom)
    assert {(r["code"], r["file"].split("/")[-1]) for r in listing.rejects} == {
        ("missing_mask", "img_0000_0576_0768.h5"),
        ("missing_image", "seg_0000_0640_0832.h5"),
    }


def test_shapes_must_agree(phantom: Path) -> None:
    save(phantom / "Mouse (NucMM-M)/Label/train/seg_000_200_200.h5", np.ones((4, 32, 31), np.uint32))
    case = next(c for c in list_download(SOURCE, phantom).cases if c.key == "000_200_200")
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(case))


def test_pixels_of_real_blocks_are_kept(samples: Path, tmp_path: Path) -> None:
    """The samples hold image blocks as TIFF; written into the native container with made-up labels they come back."""
    found = sorted((samples / "nucmm_z").rglob("img_*.tif"))
    for path in found:
        block = tifffile.imread(path)
        ids = np.zeros(block.shape, np.uint32)
        ids[:, 10:18, 20:28] = 7
        save(tmp_path / f"Image/train/{path.stem}.h5", block)
        save(tmp_path / f"Label/train/{path.stem.replace('img', 'seg')}.h5", ids)
    if not found:
        pytest.skip("no block among the samples")
    loaded = samples_at(SOURCE, tmp_path)
    for path in found:
        block = tifffile.imread(path)
        for index, pixels in enumerate(block):
            sample = loaded[f"{path.stem.removeprefix('img_')}-{index:04d}"]
            assert np.array_equal(sample.image.pixels, pixels)
            assert [i.area for i in sample.instances] == [64]
