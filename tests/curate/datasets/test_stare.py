"""STARE: gzipped and plain files, P5 labels named .ppm, the first observer only, resized copies refused."""

import gzip
import shutil
import tarfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("stare")
NAMES = {"im0001", "im0077", "im0239", "im0324"}  # labelled ones of the phantom


def raw_label(path: Path) -> np.ndarray:
    """The pixels of a P5 file are its last 605 · 700 bytes, whatever its header looks like."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert data[:2] == b"P5"
    return np.frombuffer(data[-605 * 700 :], np.uint8).reshape(605, 700) == 255


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("stare", tmp_path / "stare")
    return tmp_path / "stare"


def gunzip(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.decompress(source.read_bytes()))


def make_flat(phantom: Path, folder: Path) -> None:
    for file in phantom.glob("*/im*.gz"):
        gunzip(file, folder / file.stem)


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "stare")
    assert not listing.rejects
    labels = {p.name[:6]: p for p in (samples / "stare").glob("**/im*.ah.ppm*")}
    assert {case.key for case in listing.cases} == set(labels)  # of both layouts, where both lie there
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        (vessels,) = sample.instances
        assert vessels.concept == "retinal_vessel"
        assert np.array_equal(vessels.region.mask((605, 700)), raw_label(labels[case.key])), case.key
        assert sample.image.pixels.shape == (605, 700, 3)


def test_label_of_the_first_observer(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert set(found) == NAMES
    for key, sample in found.items():
        drawn = raw_label(phantom / f"labels-ah/{key}.ah.ppm.gz")
        assert np.array_equal(sample.instances[0].region.mask((605, 700)), drawn)
        assert sample.group == key


def test_flat_folder_gives_the_same(phantom: Path, tmp_path: Path) -> None:
    make_flat(phantom, tmp_path / "STARE")
    official, flat = samples_at(SOURCE, phantom), samples_at(SOURCE, tmp_path / "STARE")
    assert set(flat) == set(official)
    for key in flat:
        assert np.array_equal(flat[key].image.pixels, official[key].image.pixels)
        assert flat[key].instances[0].area == official[key].instances[0].area


def test_both_layouts_under_one_root(phantom: Path, tmp_path: Path) -> None:
    for part, key in (("stare-images/{}.ppm", "im0001"), ("labels-ah/{}.ah.ppm", "im0001")):
        file = phantom / f"{part.format(key)}.gz"
        gunzip(file, tmp_path / "root/flat_layout/STARE" / file.stem)
        file.unlink()
    shutil.move(phantom, tmp_path / "root/official_layout")
    found = samples_at(SOURCE, tmp_path / "root")
    assert set(found) == NAMES


@pytest.mark.parametrize("folders", [True, False])
def test_tars_as_downloaded(
    phantom: Path, tmp_path: Path, folders: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))
    download = tmp_path / "download"
    download.mkdir()
    for folder in ("stare-images", "labels-ah", "labels-vk"):
        with tarfile.open(download / f"{folder}.tar", "w") as tar:
            for file in sorted((phantom / folder).iterdir()):
                tar.add(file, f"{folder}/{file.name}" if folders else file.name)
    assert set(samples_at(SOURCE, download)) == NAMES


def test_small_copies_of_the_kaggle_pack_are_not_read(phantom: Path, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    for file in phantom.glob("stare-images/*.gz"):
        gunzip(file, pack / "images" / file.stem)
        PIL.Image.new("RGB", (512, 512)).save(pack / "images" / f"{file.stem}.png")
    for file in phantom.glob("labels-*/*.gz"):
        gunzip(file, pack / "masks" / file.stem)
        PIL.Image.new("RGB", (512, 512), (99, 99, 99)).save(pack / "masks" / f"{file.stem}.png")
    assert set(samples_at(SOURCE, pack)) == NAMES


def test_resized_copy_is_refused(phantom: Path) -> None:
    for file, mode in (("stare-images/im0001.ppm.gz", "RGB"), ("labels-ah/im0001.ah.ppm.gz", "L")):
        PIL.Image.new(mode, (512, 512)).save(phantom / "small.ppm")
        (phantom / file).write_bytes(gzip.compress((phantom / "small.ppm").read_bytes()))
    with pytest.raises(Reject, match=r"im0001.ppm.gz: not_native: is 512 x 512 px"):
        samples_at(SOURCE, phantom)


def test_label_is_missed_only_where_there_is_one(phantom: Path) -> None:
    (phantom / "labels-ah/im0001.ah.ppm.gz").unlink()
    (phantom / "stare-images/im0077.ppm.gz").unlink()
    listing = list_download(SOURCE, phantom)
    assert {(r["code"], r["file"]) for r in listing.rejects} == {
        ("missing_mask", "stare-images/im0001.ppm.gz"),
        ("missing_image", "labels-ah/im0077.ah.ppm.gz"),
    }
    assert [file for file, _ in listing.skips] == ["stare-images/im0006.ppm.gz"]


def test_damaged_gzip_is_refused(phantom: Path) -> None:
    file = phantom / "stare-images/im0001.ppm.gz"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(Reject, match=r"im0001.ppm.gz: unreadable"):
        samples_at(SOURCE, phantom)
