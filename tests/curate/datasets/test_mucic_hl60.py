"""MUCIC HL60: clustering and noise by folder or zip, ids and no components, BBBC024's TIFF volumes."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import position_of, samples_at

SOURCE = get_source("mucic_hl60")
KEYS = ["high-c75-0004", "low-c00-0004", "low-c75-0004"]


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("mucic_hl60", tmp_path)
    return tmp_path


def test_equal_names_in_all_folders(phantom: Path) -> None:
    cases = list_download(SOURCE, phantom).cases
    assert [c.key for c in cases] == KEYS
    assert [c.group for c in cases] == ["c75-0004", "c00-0004", "c75-0004"]


def test_touching_nuclei_keep_their_ids(phantom: Path) -> None:
    with h5py.File(phantom / "HL60_LowNoise_C75_3D_HDF5/image-labels_0004.h5") as handle:
        ids = handle["Image"][1]
    sample = samples_at(SOURCE, phantom)["low-c75-0004-0001"]
    assert [i.native_id for i in sample.instances] == [3, 7, 20]
    for instance in sample.instances:
        assert np.array_equal(instance.region.mask(ids.shape), ids == instance.native_id)


def test_8_bit_pixels_stay_as_they_are(phantom: Path) -> None:
    with h5py.File(phantom / "HL60_HighNoise_C75_3D_HDF5/image-final_0004.h5") as handle:
        expected = handle["Image"][2]
    sample = samples_at(SOURCE, phantom)["high-c75-0004-0002"]
    assert np.array_equal(sample.image.pixels, expected)
    assert sample.extra == {}
    assert (position_of(sample).volume, position_of(sample).index, position_of(sample).count) == (
        "high-c75-0004",
        2,
        4,
    )


def test_broad_institute_tiffs_give_the_same(phantom: Path, tmp_path: Path) -> None:
    expected = samples_at(SOURCE, phantom)
    for noise, level, snr in (("Low", "75", "high"), ("High", "75", "low"), ("Low", "00", "high")):
        old = phantom / f"HL60_{noise}Noise_C{level}_3D_HDF5"
        new = phantom / f"BBBC024_v1_c{level}_{snr}SNR_images_TIFF"
        new.mkdir()
        for path in old.iterdir():
            with h5py.File(path) as handle:
                tifffile.imwrite(new / f"{path.stem}.tif", handle["Image"][:], photometric="minisblack")
        shutil.rmtree(old)
    found = samples_at(SOURCE, phantom)
    assert found.keys() == expected.keys()
    for key, sample in found.items():
        assert np.array_equal(sample.image.pixels, expected[key].image.pixels)
        assert [i.area for i in sample.instances] == [i.area for i in expected[key].instances]
        assert sample.group == expected[key].group


def test_granulocytes_alone_are_another_set(phantom: Path) -> None:
    for name in [p for p in phantom.iterdir() if p.name.startswith("HL60")]:
        shutil.rmtree(name)
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, phantom)


def test_damaged_volume_is_refused(phantom: Path) -> None:
    path = phantom / "HL60_LowNoise_C00_3D_HDF5/image-labels_0004.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    case = next(c for c in list_download(SOURCE, phantom).cases if c.key == "low-c00-0004")
    with pytest.raises(Reject, match="unreadable") as caught:
        list(SOURCE.load(case))
    assert caught.value.file.endswith("image-labels_0004.h5")
