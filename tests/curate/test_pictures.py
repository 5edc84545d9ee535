"""Paths with fields pair images and masks; every declared dataset keeps the same contract about halves and sizes."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.formats.pictures import raster
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.pictures import Pictures, one, paths
from medshards.curate.sample import Reject
from medshards.curate.source import get_source, slugs
from medshards.curate.tree import recognise_above
from medshards.vocab.vocabulary import load_labels

DECLARED = [slug for slug in slugs() if isinstance(get_source(slug), Pictures)]
LABELS = load_labels("kvasir_seg")


class Eyes(Pictures):
    """Masks beside their images, which the path of the image fits as well."""

    slug = "eyes"
    layouts = (paths("eyes", "{split:train,test}/{child:[0-9]+}{eye}.png", "{split}/{child}{eye}_mask.png"),)
    skipped = {"extra/*.png": "an extra"}
    key = "{split} {child}{eye}"
    group = "child-{child}"
    split = "{split}"
    splits = {"test": "val"}
    masks = one("polyp", raster.read_binary)


def save(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.full((8, 9), 255, np.uint8)).save(root / name)


def test_fields_give_pairs_key_group_and_split(tmp_path: Path) -> None:
    save(tmp_path, "train/12L.png", "train/12L_mask.png", "test/7R.png", "test/7R_mask.png", "extra/1.png")
    listing = list_download(Eyes(LABELS), tmp_path)
    found = {(c.key.rpartition("-")[0], c.group, c.split): c.files["mask"].name for c in listing.cases}
    assert found == {  # a blank is no letter of a key, which then ends in a digest
        ("train_12L", "child-12", "train"): "train/12L_mask.png",
        ("test_7R", "child-7", "val"): "test/7R_mask.png",
    }
    assert (listing.skips, listing.rejects) == ([("extra/1.png", "an extra")], [])


def test_halves_are_told_with_the_path_to_look_for(tmp_path: Path) -> None:
    save(tmp_path, "train/12L.png", "train/12L_mask.png", "train/3L.png", "test/7R_mask.png", "train/xL.png")
    assert {(r["code"], r["file"], r["message"]) for r in list_download(Eyes(LABELS), tmp_path).rejects} == {
        ("missing_mask", "train/3L.png", "no train/3L_mask.png"),
        ("missing_image", "test/7R_mask.png", "no test/7R.png"),
        ("unknown_name", "train/xL.png", "no name of this dataset; it was not read"),
    }


def test_the_folder_above_is_known_by_words_and_digits(tmp_path: Path) -> None:
    save(tmp_path, "train/12L.png", "train/12L_mask.png")
    assert recognise_above(tmp_path / "train", Eyes.layouts)
    save(tmp_path, "other/12L.png", "other/12L_mask.png")
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    assert not recognise_above(tmp_path / "other", Eyes.layouts)


def test_a_field_named_twice_is_the_same_text(tmp_path: Path) -> None:
    class Doubled(Eyes):
        layouts = (paths("doubled", "{name}/{name}.png", "{name}/{name}_mask.png"),)
        key = group = "{name}"
        split = ""

    save(tmp_path, "a/a.png", "a/a_mask.png", "a/b.png")
    listing = list_download(Doubled(LABELS), tmp_path)
    assert [(c.key, c.group, c.split) for c in listing.cases] == [("a", "a", None)]
    assert [(r["code"], r["file"]) for r in listing.rejects] == [("unknown_name", "a/b.png")]


@pytest.mark.parametrize("slug", DECLARED)
def test_pairs_must_be_whole_and_of_one_size(slug: str, tmp_path: Path) -> None:
    """Of every declared dataset: a lost half is told of by the other half and its own name, a size by the mask."""
    write_phantom(slug, tmp_path)
    source = get_source(slug)
    before = list_download(source, tmp_path)
    first, second, third = list(before.cases)[:3]
    lost_mask, lost_image = first.files["mask"], second.files["image"]
    lost_mask.path.unlink()
    lost_image.path.unlink()
    PIL.Image.new("RGB", (31, 20)).save(third.files["mask"].path)
    listing = list_download(source, tmp_path)
    new = [r for r in listing.rejects if r not in before.rejects]
    assert {(r["code"], r["file"]) for r in new} == {
        ("missing_mask", first.files["image"].name),
        ("missing_image", second.files["mask"].name),
    }
    for reject, lost in zip(sorted(new, key=lambda r: r["code"], reverse=True), (lost_mask, lost_image)):
        assert lost.path.name in reject["message"]
    assert {c.key for c in listing.cases} == {c.key for c in before.cases} - {first.key, second.key}
    with pytest.raises(Reject, match=r"size_mismatch: the mask is 31 x 20 px") as refused:
        list(source.load(third))
    assert refused.value.file == third.files["mask"].name
