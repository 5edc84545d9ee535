"""RAVIR: 128 is artery and 255 vein, test images are skipped, the paper counts components of both together."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.shards.encode.policy import Making, Policy, Profile
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_at, samples_of

SOURCE = get_source("ravir")


def policy(profile: Profile) -> Policy:
    return Policy.of(load_catalog()["ravir"], Making(profile), SOURCE.labels, Vocabulary.load())


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("ravir", tmp_path)
    return tmp_path / "RAVIR Dataset"


def test_real_samples(samples: Path) -> None:
    root = samples / "ravir"
    listing = list_download(SOURCE, root)
    assert not listing.rejects
    assert listing.cases
    assert len(listing.skips) == len(list(root.glob("*/test/*.png")))
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        values = np.asarray(PIL.Image.open(case.files["mask"].path))
        found = {i.concept: i.region.mask(values.shape) for i in sample.instances}
        assert np.array_equal(found["retinal_artery"], values == 128)
        assert np.array_equal(found["retinal_vein"], values == 255)
        # the paper's annotations: components of both together of 100 px and more, counted by another library
        labels, _ = ndimage.label(values > 0, np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        assert sorted(policy("paper").paper_annotations(sample) or ()) == sorted(areas[areas >= 100].tolist())


def test_veins_are_darker_than_arteries(samples: Path) -> None:
    """The files do not say which value is which; in infrared light veins are the darker vessels."""
    found = samples_at(SOURCE, samples / "ravir")
    for key, sample in found.items():
        mean = {
            i.concept: sample.image.pixels[i.region.mask(sample.image.size)].mean() for i in sample.instances
        }
        assert mean["retinal_vein"] < mean["retinal_artery"], key


def test_complete_copy_gives_the_figures_of_the_paper(samples: Path) -> None:
    found = samples_at(SOURCE, samples / "ravir")
    if len(found) != 23:
        pytest.skip(f"{len(found)} of the 23 training images lie there")
    areas = [a for s in found.values() for a in policy("paper").paper_annotations(s) or ()]
    assert (len(areas), np.median(areas)) == (141, 3584)


def test_default_makes_one_instance_a_concept(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert {
        key: sorted(i.concept for i in s.instances) for key, s in found.items() if key.endswith("026")
    } == {"IR_Case_026": ["retinal_vein"]}
    kept, dropped = policy("default").instances(found["IR_Case_011"])
    assert [i.concept for i in kept] == ["retinal_artery", "retinal_vein"]
    assert dropped == 0
    assert kept[1].region.mask((112, 112))[3, 3]  # the speck is part of the veins


def test_paper_joins_touching_vessels_and_drops_specks(phantom: Path) -> None:
    values = np.zeros((112, 112), np.uint8)
    values[10:20, 10:30] = 128  # 200 px of artery …
    values[20:25, 10:30] = 255  # … and 100 px of vein that touch it
    values[60:70, 60:70] = 255  # 100 px: just large enough
    values[90:99, 90:101] = 128  # 99 px: just too small
    mask = phantom / "train/training_masks/IR_Case_011.png"
    PIL.Image.fromarray(values).save(mask)
    assert policy("paper").paper_annotations(samples_at(SOURCE, phantom)["IR_Case_011"]) == (300, 100)


def test_interpolated_values_are_refused(phantom: Path) -> None:
    mask = phantom / "train/training_masks/IR_Case_011.png"
    values = np.array(PIL.Image.open(mask))
    values[0, 0] = 64
    PIL.Image.fromarray(values).save(mask)
    with pytest.raises(Reject, match=r"IR_Case_011.png: unknown_label: pixel values 64 \(1 px\)"):
        samples_at(SOURCE, phantom)


def test_missing_halves_are_named(phantom: Path) -> None:
    (phantom / "train/training_masks/IR_Case_011.png").unlink()
    (phantom / "train/training_images/IR_Case_017.png").unlink()
    listing = list_download(SOURCE, phantom)
    assert {(r["code"], r["file"]) for r in listing.rejects} == {
        ("missing_mask", "train/training_images/IR_Case_011.png"),
        ("missing_image", "train/training_masks/IR_Case_017.png"),
    }
    assert [file for file, _ in listing.skips] == ["test/IR_Case_006.png"]
