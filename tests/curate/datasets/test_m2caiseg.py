"""m2caiSeg: the authors' colours, mixed colours counted as lost, each picture once although trainval repeats it."""

import csv
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.listing import Listing, list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, get_source
from medshards.curate.tree import File, recognise
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_of

SOURCE = get_source("m2caiseg")
# Colours of the authors' list, with the concepts they stand for.
COLORS = {
    **{(0, 85, 170): "grasper", (0, 85, 255): "bipolar_forceps", (0, 170, 85): "hook_electrocautery"},
    **{(0, 255, 85): "surgical_scissors", (0, 255, 170): "clip_applier", (85, 0, 170): "irrigator"},
    **{(85, 0, 255): "specimen_bag", (170, 85, 85): "trocar", (170, 170, 170): "surgical_clip"},
    **{(85, 170, 0): "liver", (85, 170, 255): "gallbladder", (85, 255, 0): "fat"},
    **{(85, 255, 170): "abdominal_wall", (170, 0, 255): "artery", (255, 0, 255): "intestine"},
    **{(255, 255, 0): "bile", (255, 0, 0): "blood", (170, 0, 85): None, (0, 0, 0): None},
}


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("m2caiseg", tmp_path)
    return tmp_path / "m2caiSeg dataset"


def load(listing: Listing, key: str) -> Sample:
    (sample,) = samples_of(SOURCE, next(case for case in listing.cases if case.key == key))
    return sample


def test_published_file_list_gives_each_picture_once(samples: Path) -> None:
    rows = list(csv.DictReader((samples / "m2caiseg/file_list.csv").open()))
    paths = [row[column] for row in rows for column in ("image", "groundtruth")]
    (tree,) = recognise({p: File(p, Path(p)) for p in sorted(paths)}, SOURCE.layouts)
    found = [item for item in SOURCE.discover(tree) if isinstance(item, Case)]
    assert [case.split for case in found].count("train") == 245
    assert [case.split for case in found].count("test") == 62
    assert len({case.key for case in found}) == len(found) == 307
    assert {"train-4175", "test-4175", "train-03425", "test-3425"} <= {case.key for case in found}
    (tree,) = recognise({p: File(p, Path(p)) for p in paths if "/trainval/" in p}, SOURCE.layouts)
    assert len([item for item in SOURCE.discover(tree) if isinstance(item, Case)]) == 307


@pytest.mark.parametrize(("color", "concept"), COLORS.items())
def test_colours_mean_what_the_authors_list_says(
    phantom: Path, color: tuple[int, int, int], concept: str | None
) -> None:
    PIL.Image.new("RGB", (150, 84), color).save(phantom / "test/groundtruth/225_gt.png")
    sample = load(list_download(SOURCE, phantom), "test-225")
    assert [(i.concept, i.area) for i in sample.instances] == ([(concept, 150 * 84)] if concept else [])


def test_mixed_colours_are_counted_and_specks_dropped(phantom: Path) -> None:
    sample = load(list_download(SOURCE, phantom), "train-00")
    mask = np.asarray(PIL.Image.open(phantom / "train/groundtruth/00_gt.png"))
    mixed = int((mask == 85).all(axis=2).sum())
    assert mixed > 0
    assert dict(sample.lost) == {"pixels in mixed colours of borders": mixed}
    assert {i.label: i.area for i in sample.instances}["scissors"] == 4
    policy = Policy.of(load_catalog()["m2caiseg"], Making(), SOURCE.labels, Vocabulary.load())
    instances, dropped = policy.instances(sample)
    assert dropped == 1
    assert "surgical_scissors" not in {i.concept for i in instances}


def test_colours_that_no_mixture_gives_are_refused(phantom: Path) -> None:
    path = phantom / "train/groundtruth/650_gt.png"
    mask = np.asarray(PIL.Image.open(path)).copy()
    mask[40, 40] = (71, 170, 34)  # as a screenshot shows the liver
    PIL.Image.fromarray(mask).save(path)
    with pytest.raises(Reject, match=r"650_gt.png: unknown_label: colours #47aa22 \(1 px\)"):
        load(list_download(SOURCE, phantom), "train-650")


def test_same_name_is_another_picture_in_train_and_test(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert {i.label for i in load(listing, "train-4175").instances} >= {"hook"}
    assert {i.label for i in load(listing, "test-4175").instances} >= {"grasper"}
    assert {reason for _, reason in listing.skips} == {
        "the same picture again, in trainval or in train and test"
    }


def test_trainval_stands_in_where_a_part_is_missing(phantom: Path) -> None:
    shutil.rmtree(phantom / "test")
    listing = list_download(SOURCE, phantom)
    assert (len(listing.cases), len(listing.skips)) == (7, 4)
    assert {case.split for case in listing.cases} == {None}
    assert {i.label for i in load(listing, "trainval-04175").instances} >= {"hook"}
    shutil.rmtree(phantom / "trainval")
    listing = list_download(SOURCE, phantom)
    assert (len(listing.cases), listing.skips) == (4, [])


def test_pairs_must_be_whole_and_of_one_size(phantom: Path) -> None:
    (phantom / "train/groundtruth/00_gt.png").unlink()
    (phantom / "train/images/650.jpg").unlink()
    PIL.Image.new("RGB", (774, 434)).save(phantom / "test/groundtruth/225_gt.png")
    listing = list_download(SOURCE, phantom)
    assert [(r["code"], Path(r["file"]).name) for r in listing.rejects] == [
        ("missing_mask", "00.jpg"),
        ("missing_image", "650_gt.png"),
    ]
    with pytest.raises(Reject, match="size_mismatch: the mask is 774 x 434 px"):
        load(listing, "test-225")
