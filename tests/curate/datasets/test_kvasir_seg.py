"""Kvasir-SEG: JPEG masks are thresholded, polyps are components, stray pixels fall below the floor and are counted."""

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
from medshards.shards.encode.policy import Making, Policy
from medshards.vocab.vocabulary import Vocabulary
from tests.samples import samples_of

SOURCE = get_source("kvasir_seg")
POLICY = Policy.of(load_catalog()["kvasir_seg"], Making(), SOURCE.labels, Vocabulary.load())
TWO_POLYPS = "cju0roawvklrq0799vmjorwfv"


def component_areas(path: Path) -> list[int]:
    white = np.asarray(PIL.Image.open(path).convert("L")) > 127
    labels, count = ndimage.label(white, np.ones((3, 3)))
    return [int((labels == k).sum()) for k in range(1, count + 1)]


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "kvasir_seg")
    assert listing.cases
    assert not listing.rejects
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        assert sample.image.encoded is not None  # the JPEG itself is kept
        instances, dropped = POLICY.instances(sample)
        areas = component_areas(case.files["mask"].path)
        assert [i.area for i in instances] == [a for a in areas if a >= 100], case.key
        assert dropped == len([a for a in areas if a < 100])
        if case.key == TWO_POLYPS:
            assert (sorted(i.area for i in instances), dropped) == ([6424, 29207], 1)


def test_ringing_makes_no_specks(tmp_path: Path) -> None:
    write_phantom("kvasir_seg", tmp_path)
    for case in list_download(SOURCE, tmp_path).cases:
        grey = np.asarray(PIL.Image.open(case.files["mask"].path).convert("L"))
        assert ((grey > 0) & (grey < 128)).any()  # there is ringing
        (sample,) = samples_of(SOURCE, case)
        instances, _ = POLICY.instances(sample)
        assert len(instances) == (2 if case.key == TWO_POLYPS else 1)


def test_repackaged_copies_with_png_masks_are_not_taken(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "TestDataset/Kvasir" / folder).mkdir(parents=True)
        PIL.Image.new("RGB", (20, 20)).save(tmp_path / f"TestDataset/Kvasir/{folder}/{TWO_POLYPS}.png")
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, tmp_path)


def test_pairs_must_be_whole_and_of_one_size(tmp_path: Path) -> None:
    write_phantom("kvasir_seg", tmp_path)
    folder = tmp_path / "Kvasir-SEG"
    first, second, third, _ = sorted(path.name for path in (folder / "images").iterdir())
    (folder / "masks" / first).unlink()
    (folder / "images" / second).unlink()
    PIL.Image.new("RGB", (31, 20)).save(folder / "masks" / third)
    listing = list_download(SOURCE, tmp_path)
    assert sorted((r["code"], r["file"].split("/")[-1]) for r in listing.rejects) == [
        ("missing_image", second),
        ("missing_mask", first),
    ]
    with pytest.raises(Reject, match=f"{third}: size_mismatch: the mask is 31 x 20 px"):
        list(SOURCE.load(next(iter(listing.cases))))
