"""Ultrasound Nerve Segmentation: images and masks in one folder, empty masks kept as negatives, group = subject."""

import csv
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.datasets.us_nerve.phantom import EMPTY, NAMES
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from medshards.shards.build.split import TRAIN, paper_split
from medshards.shards.encode.policy import SEED, VAL_FRACTION, Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_at, samples_of

SOURCE = get_source("us_nerve")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("us_nerve", tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def run_lengths(samples: Path) -> dict[str, list[int]]:
    """train_masks.csv: by name, pairs of start and length, counted down the columns from 1."""
    table = samples / "us_nerve/train_masks.csv"
    if not table.is_file():
        pytest.skip(f"{table} is absent")
    with table.open() as stream:
        return {f"{s}_{i}": [int(n) for n in runs.split()] for s, i, runs in list(csv.reader(stream))[1:]}


def decode(runs: list[int]) -> np.ndarray:
    down = np.zeros(420 * 580, bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        down[start - 1 : start - 1 + length] = True
    return down.reshape(580, 420).T


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "us_nerve")
    assert not listing.rejects
    names = {p.stem for p in (samples / "us_nerve/train").glob("*.tif")}
    assert {case.key for case in listing.cases} == {n for n in names if not n.endswith("_mask")}
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        assert sample.group == case.key.split("_")[0]
        assert sample.image.pixels.shape == (420, 580)
        drawn = np.asarray(PIL.Image.open(samples / f"us_nerve/train/{case.key}_mask.tif")) > 0
        assert [i.concept for i in sample.instances] == ["brachial_plexus_nerve"]
        assert np.array_equal(sample.instances[0].region.mask((420, 580)), drawn), case.key


def test_masks_equal_the_run_lengths(samples: Path, run_lengths: dict[str, list[int]]) -> None:
    for key, sample in samples_at(SOURCE, samples / "us_nerve").items():
        assert np.array_equal(sample.instances[0].region.mask((420, 580)), decode(run_lengths[key])), key


def test_paper_split_gives_the_printed_median(run_lengths: dict[str, list[int]]) -> None:
    """2,323 non-empty masks; the median of the training part is the printed 6,954 (exactly 6,954.5)."""
    areas = {f"{name}.tif": sum(runs[1::2]) for name, runs in run_lengths.items() if runs}
    names = sorted(areas)
    splits = paper_split(names, VAL_FRACTION, SEED)
    training = [areas[n] for n, split in zip(names, splits, strict=True) if split == TRAIN]
    assert (len(areas), len(training), np.median(training)) == (2323, 1974, 6954.5)


def test_empty_masks_are_negatives_that_the_paper_leaves_out(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    policies = [
        Policy.of(load_catalog()["us_nerve"], Making(profile), SOURCE.labels, Vocabulary.load())
        for profile in ("default", "paper")
    ]
    for key, sample in found.items():
        default, paper = (policy.instances(sample)[0] for policy in policies)
        assert len(default) == len(paper) == (key not in EMPTY)
        assert policies[0].leaves_out(sample, default) is None
        assert (policies[1].leaves_out(sample, paper) is not None) == (key in EMPTY)
        assert policies[0].absent(sample) == (["brachial_plexus_nerve"] if key in EMPTY else [])


def test_masks_are_no_images_and_subjects_are_groups(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert {case.key: case.group for case in listing.cases} == {n: n.split("_")[0] for n in NAMES}
    assert [file for file, _ in listing.skips] == ["test/1.tif"]


def test_missing_halves_are_named(phantom: Path) -> None:
    (phantom / "train/1_1_mask.tif").unlink()
    (phantom / "train/10_101.tif").unlink()
    (phantom / "train/1_5.tif").rename(phantom / "train/1_5 (1).tif")
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_mask", "train/1_1.tif"),
        ("missing_image", "train/10_101_mask.tif"),
        ("missing_image", "train/1_5_mask.tif"),
        ("unknown_name", "train/1_5 (1).tif"),
    }


def test_rearranged_copy_is_not_recognised(phantom: Path) -> None:
    for folder, pattern in (("masks", "*_mask.tif"), ("images", "*.tif")):
        (phantom / "train" / folder).mkdir()
        for file in list((phantom / "train").glob(pattern)):
            file.rename(phantom / "train" / folder / file.name)
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, phantom)
