"""ETIS-LaribPolypDB: masks named with a "p", several polyps in one mask, official TIFFs and PNG copies."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import Case, get_source
from medshards.shards.build.dataset import build_dataset
from tests.samples import samples_of

SOURCE = get_source("etis_larib")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("etis_larib", tmp_path)
    return tmp_path / "ETIS-LaribPolypDB"


def cases(root: Path) -> dict[str, Case]:
    return {case.key: case for case in list_download(SOURCE, root).cases}


def as_png(phantom: Path, folder: Path) -> None:
    for old, new in (("ETIS-LaribPolypDB", "images"), ("Ground Truth", "masks")):
        (folder / new).mkdir(parents=True)
        for path in (phantom / old).iterdir():
            PIL.Image.open(path).save(folder / new / f"{path.stem.removeprefix('p')}.png")


def test_real_frames_with_soft_borders(samples: Path, tmp_path: Path) -> None:
    """Resized real frames: not taken as they lie; under the name of a PNG copy their masks are read above 127."""
    copy = samples / "etis_larib/converted_not_native"
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, samples / "etis_larib")
    (tmp_path / "ETIS-Larib").symlink_to(copy)
    found = cases(tmp_path)
    assert set(found) == {path.stem for path in (copy / "images").glob("*.png")}
    for case in found.values():
        (sample,) = samples_of(SOURCE, case)
        grey = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L"))
        assert ((grey > 0) & (grey < 255)).any()
        assert sample.instances[0].area == int((grey > 127).sum())


def test_pairs_by_number_not_by_name(phantom: Path) -> None:
    found = cases(phantom)
    assert {key: Path(case.files["mask"].name).name for key, case in found.items()} == {
        key: f"p{key}.tif" for key in ("1", "2", "10", "196")
    }
    for case in found.values():
        (sample,) = samples_of(SOURCE, case)
        white = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L")) > 127
        assert sample.instances[0].area == white.sum()
        assert ndimage.label(white)[1] == (3 if case.key == "196" else 1)


@pytest.mark.parametrize("name", ["ETIS-Larib", "ETIS", "ETIS-LaribPolypDB"])
def test_png_copies(phantom: Path, tmp_path: Path, name: str) -> None:
    as_png(phantom, tmp_path / "copy" / name)
    (tmp_path / "copy" / name / "images/1.png").rename(tmp_path / "copy" / name / "images/0.png")
    (tmp_path / "copy" / name / "masks/1.png").rename(tmp_path / "copy" / name / "masks/0.png")
    assert set(cases(tmp_path / "copy")) == {"0", "2", "10", "196"}
    assert set(cases(tmp_path / "copy" / name)) == {"0", "2", "10", "196"}


def test_whole_dataset_is_external(phantom: Path, tmp_path: Path) -> None:
    result = build_dataset(load_catalog()["etis_larib"], phantom, tmp_path / "corpus")
    assert result.manifest["counts"]["samples"] == 4
    assert {shard["file"].split("/")[0] for shard in result.manifest["shards"]} == {"test"}


def test_incomplete_pairs_are_named(phantom: Path) -> None:
    (phantom / "Ground Truth/p1.tif").unlink()
    (phantom / "ETIS-LaribPolypDB/2.tif").unlink()
    PIL.Image.new("1", (9, 9)).save(phantom / "Ground Truth/p10.tif")
    listing = list_download(SOURCE, phantom)
    assert [(r["code"], Path(r["file"]).name) for r in listing.rejects] == [
        ("missing_mask", "1.tif"),
        ("missing_image", "p2.tif"),
    ]
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(cases(phantom)["10"]))
