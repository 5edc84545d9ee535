"""MUCIC Colon Tissue: noise level by folder or zip, values beyond 1 as ids, slices by rule, 16-bit windows."""

import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Skip, Source, get_source
from tests.samples import intensity_of, position_of, samples_at

SOURCE = get_source("mucic_colon")
LOW, HIGH = "ColonTissue_LowNoise_3D_HDF5", "ColonTissue_HighNoise_3D_HDF5"


def by_rule(slices: str) -> Source:
    source = type(get_source("mucic_colon"))()
    source.slices = slices
    return source


def load_all(root: Path, slices: str = "annotated") -> list[Sample]:
    return list(samples_at(by_rule(slices), root).values())


@pytest.fixture
def phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))
    write_phantom("mucic_colon", tmp_path / "raw")
    return tmp_path / "raw"


def volume(folder: Path, kind: str) -> np.ndarray:
    with h5py.File(folder / f"image-{kind}_0000.h5") as handle:
        return handle["Image"][:]


def test_both_noise_levels_are_one_group(phantom: Path) -> None:
    found = load_all(phantom)
    assert [s.key for s in found] == [f"{n}-0000-{k:04d}" for n in ("high", "low") for k in (1, 2, 3)]
    assert {s.group for s in found} == {"0000"}
    assert {(position_of(s).volume, position_of(s).count) for s in found} == {
        ("low-0000", 5),
        ("high-0000", 5),
    }


@pytest.mark.parametrize(
    ("rule", "indices"), [("all", [0, 1, 2, 3, 4]), ("middle", [2]), ("largest", [1]), ("every 2", [0, 2, 4])]
)
def test_slices_by_rule(phantom: Path, rule: str, indices: list[int]) -> None:
    found = [s for s in load_all(phantom, rule) if s.key.startswith("low")]
    assert [position_of(s).index for s in found] == indices
    assert [len(s.instances) for s in found] == [int(0 < k < 4) for k in indices]


def test_labels_and_pixels_of_a_slice(phantom: Path) -> None:
    image, labels = volume(phantom / LOW, "final"), volume(phantom / LOW, "labels")
    middle = next(s for s in load_all(phantom) if s.key == "low-0000-0002")
    assert np.array_equal(middle.instances[0].region.mask((40, 48)), labels[2] > 0)
    assert middle.image.pixels.dtype == np.uint16
    assert np.array_equal(middle.image.pixels, image[2])
    assert (intensity_of(middle).slope, intensity_of(middle).intercept) == (1, 0)
    assert intensity_of(middle).window == tuple(np.percentile(image[image > 0], (0.5, 99.5)))


def test_values_beyond_one_are_ids(phantom: Path) -> None:
    with h5py.File(phantom / HIGH / "image-labels_0000.h5", "a") as handle:
        ids = handle["Image"][2]
        ids[: np.flatnonzero(ids.any(axis=1))[0] + 2][ids[: np.flatnonzero(ids.any(axis=1))[0] + 2] > 0] = 9
        handle["Image"][2] = ids
    middle = next(s for s in load_all(phantom) if s.key == "high-0000-0002")
    assert [i.native_id for i in middle.instances] == [1, 9]
    assert [i.area for i in middle.instances] == [int((ids == 1).sum()), int((ids == 9).sum())]


def test_tiff_volumes_with_a_private_tag(phantom: Path) -> None:
    expected = load_all(phantom)
    for name in (LOW, HIGH):
        for kind in ("final", "labels"):
            path = phantom / name.replace("HDF5", "TIFF") / f"image-{kind}_0000.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, volume(phantom / name, kind), extratags=[(0xFDE8, "s", 0, "x", True)])
        shutil.rmtree(phantom / name)
    for old, new in zip(expected, load_all(phantom), strict=True):
        assert old.key == new.key
        assert np.array_equal(old.image.pixels, new.image.pixels)
        assert [i.area for i in old.instances] == [i.area for i in new.instances]


@pytest.mark.parametrize("inner", ["", "some folder/"])
def test_zips_of_equal_names_side_by_side(phantom: Path, inner: str) -> None:
    keys = [s.key for s in load_all(phantom)]
    for name in (LOW, HIGH):
        with zipfile.ZipFile(phantom / f"{name}.zip", "w") as archive:
            for path in (phantom / name).iterdir():
                archive.write(path, inner + path.name)
        shutil.rmtree(phantom / name)
    assert [s.key for s in load_all(phantom)] == keys
    (phantom / f"{HIGH}.zip").unlink()
    assert [s.key for s in load_all(phantom)] == [k for k in keys if k.startswith("low")]


def test_folder_itself_as_root(phantom: Path) -> None:
    assert {s.key[:3] for s in load_all(phantom / LOW)} >= {"low"}


def test_halves_of_pairs(phantom: Path) -> None:
    (phantom / LOW / "image-labels_0000.h5").unlink()
    (phantom / HIGH / "image-labels_0000.h5").rename(phantom / HIGH / "image-labels_0007.h5")
    listing = list_download(SOURCE, phantom)
    assert sorted((r["code"], r["file"]) for r in listing.rejects) == [
        ("missing_image", f"{HIGH}/image-labels_0007.h5"),
        ("missing_mask", f"{HIGH}/image-final_0000.h5"),
        ("missing_mask", f"{LOW}/image-final_0000.h5"),
    ]


def test_volume_without_annotation_is_skipped_and_shapes_must_agree(phantom: Path) -> None:
    shutil.rmtree(phantom / HIGH)
    with h5py.File(phantom / LOW / "image-labels_0000.h5", "a") as handle:
        handle["Image"][:] = 0
    (case,) = list_download(SOURCE, phantom).cases
    (skip,) = SOURCE.load(case)
    assert isinstance(skip, Skip)
    assert skip.reason == "volume without annotation"
    (sample,) = load_all(phantom, "middle")  # an empty slice that was asked for is a negative
    assert sample.instances == []
    with h5py.File(phantom / LOW / "image-labels_0000.h5", "w") as handle:
        handle["Image"] = np.ones((5, 40, 47), np.uint8)
    with pytest.raises(Reject, match="size_mismatch"):
        load_all(phantom)


def test_other_volumes_of_the_collection_are_not_taken(tmp_path: Path) -> None:
    write_phantom("mucic_hl60", tmp_path)
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, tmp_path)
