"""Pneumothorax: names carry split and answer, negatives stay, the paper takes the positive test images."""

import csv
import fnmatch
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_at

SOURCE = get_source("chest_xray_pneumothorax")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("chest_xray_pneumothorax", tmp_path)
    return tmp_path / "siim-acr-pneumothorax"


def test_real_samples(real: Path) -> None:
    """Every name of the published tables is understood and says what the table says."""
    tables = sorted(real.glob("**/stage_1_*_images.csv"))
    if not tables:
        pytest.skip("no table among the samples")
    for table in tables:
        with table.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert rows
        split = table.name.split("_")[2]
        for row in rows:
            name = row["new_filename"]
            assert fnmatch.fnmatchcase(f"png_images/{name}", SOURCE.layouts[0].needs[0]), name
            assert name.split("_")[1:3] == [split, row["has_pneumo"]]


def test_real_pairs(real: Path) -> None:
    if not any(real.glob("**/png_images/*.png")):
        pytest.skip("no image among the samples")
    for key, sample in samples_at(SOURCE, real).items():
        assert (sum(i.area for i in sample.instances) > 0) == key.endswith("_1")


def test_equal_numbers_in_two_splits_are_two_samples(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert {"0_train_0", "0_test_1"} <= set(found)
    assert {key: s.official_split for key, s in found.items()} == {key: key.split("_")[1] for key in found}
    assert found["0_train_0"].instances[0].area == 0
    assert found["0_test_1"].instances[0].area == found["0_test_1"].instances[0].region.crop.sum() > 0


def test_paper_keeps_the_positive_test_images(phantom: Path) -> None:
    policy = Policy.of(load_catalog()[SOURCE.slug], Making("paper"), SOURCE.labels, Vocabulary.load())
    found = samples_at(SOURCE, phantom)
    kept = [key for key, s in found.items() if policy.leaves_out(s, policy.instances(s)[0]) is None]
    assert sorted(kept) == ["0_test_1", "2_test_1"]
    assert len(policy.paper_annotations(found["2_test_1"]) or ()) == 2


@pytest.mark.parametrize(("name", "white"), [("0_test_1_.png", False), ("1_test_0_.png", True)])
def test_mask_and_name_must_agree(phantom: Path, name: str, white: bool) -> None:
    PIL.Image.fromarray(np.full((96, 96), 255 * white, np.uint8)).save(phantom / "png_masks" / name)
    with pytest.raises(Reject, match=f"{name}: label_mismatch"):
        samples_at(SOURCE, phantom)


def test_missing_halves_are_named(phantom: Path) -> None:
    (phantom / "png_masks/0_train_0_.png").unlink()
    (phantom / "png_images/0_test_1_.png").unlink()
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_mask", "png_images/0_train_0_.png"),
        ("missing_image", "png_masks/0_test_1_.png"),
    }
