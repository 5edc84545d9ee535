"""BKAI-IGH NeoPolyp: colours in JPEG masks, doubled or single folders, identical pictures in one split."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
from scipy import ndimage

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.datasets.bkai_neopolyp.converter import examinations
from medshards.curate.datasets.bkai_neopolyp.phantom import TWINS
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.shards.build.dataset import build_dataset
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_of

SOURCE = get_source("bkai_neopolyp")
POLICY = Policy.of(load_catalog()["bkai_neopolyp"], Making(), SOURCE.labels, Vocabulary.load())
# name: areas in px of red, of green components, counted on the files with another JPEG decoder and another labelling
COUNTED = {
    "769fa2d37d32780fd497e1c0e9082ea2": ([8738, 13886, 33338], []),
    "cc01dd78294679c9cbb2a365b5574868": ([80772], [1948]),
}


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("bkai_neopolyp", tmp_path)
    return tmp_path


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "bkai_neopolyp")
    assert listing.cases
    assert not listing.rejects
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        instances, _ = POLICY.instances(sample)
        r, g, _ = np.moveaxis(np.asarray(PIL.Image.open(case.files["mask"].path)).astype(int), 2, 0)
        found = {"neoplastic_polyp": (r > 127) & (r > g), "non_neoplastic_polyp": (g > 127) & (g > r)}
        assert instances
        for concept, mask in found.items():
            areas = [i.area for i in instances if i.concept == concept]
            sizes = np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:]
            assert sorted(areas) == sorted(sizes[sizes >= 100].tolist()), case.key
            assert not areas or min(areas) >= 644  # the smallest real polyp of the whole set
        if case.key in COUNTED:
            red, green = COUNTED[case.key]
            assert sorted(i.area for i in instances if i.label == "neoplastic") == red
            assert sorted(i.area for i in instances if i.label == "non-neoplastic") == green


def test_colour_noise_makes_no_polyps(phantom: Path) -> None:
    case = next(c for c in list_download(SOURCE, phantom).cases if c.key.startswith("aa17"))
    colors = np.asarray(PIL.Image.open(case.files["mask"].path))
    assert colors[:, :, 0].max() > 0  # red noise in a mask that is green only
    (sample,) = samples_of(SOURCE, case)
    assert [i.concept for i in POLICY.instances(sample)[0]] == ["non_neoplastic_polyp"]


def test_folders_may_be_single(phantom: Path) -> None:
    for folder in ("train", "train_gt", "test"):
        shutil.move(phantom / folder / folder, phantom / "moved")
        (phantom / folder).rmdir()
        shutil.move(phantom / "moved", phantom / folder)
    listing = list_download(SOURCE, phantom)
    assert (len(listing.cases), len(listing.skips)) == (6, 2)
    assert listing.trees[0].layout.title == "single folders"


def test_identical_pictures_land_in_one_split(
    phantom: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("corpus")
    build_dataset(load_catalog()["bkai_neopolyp"], phantom, out)
    rows = {r["key"]: r for r in pq.read_table(out / "bkai_neopolyp/index.parquet").to_pylist()}
    first, second = (rows[name] for name in TWINS)
    assert first["image_sha256"] == second["image_sha256"]
    assert (first["split"], first["group"]) == (second["split"], second["group"])
    assert len({r["group"] for r in rows.values()}) == 5


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 255), (255, 255, 0)])
def test_other_colours_are_refused(phantom: Path, color: tuple[int, int, int]) -> None:
    path = phantom / f"train_gt/train_gt/{TWINS[0]}.jpeg"
    picture = PIL.Image.open(path)
    picture.paste(color, (10, 10, 60, 60))
    picture.save(path)
    case = next(c for c in list_download(SOURCE, phantom).cases if c.key == TWINS[0])
    with pytest.raises(Reject, match="unknown_label"):
        list(SOURCE.load(case))


def test_incomplete_pairs_are_named(phantom: Path) -> None:
    (phantom / f"train_gt/train_gt/{TWINS[0]}.jpeg").unlink()
    (phantom / f"train/train/{TWINS[1]}.jpeg").unlink()
    rejects = list_download(SOURCE, phantom).rejects
    assert [(r["code"], Path(r["file"]).stem) for r in rejects] == [
        ("missing_mask", TWINS[0]),
        ("missing_image", TWINS[1]),
    ], json.dumps(rejects)


def test_names_that_overlap_are_one_examination() -> None:
    """Windows of 32 characters on a string: near ones are chained, far ones and strangers are not."""
    tape = hashlib.sha256(b"one").hexdigest() + hashlib.sha256(b"two").hexdigest()
    near = [tape[start : start + 32] for start in (0, 3, 23)]  # 3 and 20 characters apart
    far = tape[60:92]
    stranger = hashlib.sha256(b"three").hexdigest()[:32]
    found = examinations([stranger, far, *near])
    assert {name: found[name] for name in near} == dict.fromkeys(near, min(near))
    assert found[far] == far
    assert found[stranger] == stranger
    assert examinations([tape[:32], tape[21:53]]) == {tape[:32]: tape[:32], tape[21:53]: tape[21:53]}


def test_two_published_names_of_one_examination() -> None:
    names = ("c1899fdc98376290081835cf877e004e", "0081835cf877e004e8bfb905b78a9139")
    assert set(examinations(names).values()) == {min(names)}
