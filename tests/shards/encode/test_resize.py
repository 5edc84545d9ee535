"""Smaller images: pixels averaged, masks by nearest pixel, what vanishes counted, the paper's figures untouched."""

from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.sample import Image, Instance, Region, Sample
from medshards.shards.build import index
from medshards.shards.build.manifest import read_manifest
from medshards.shards.encode.policy import Making, Policy
from medshards.shards.encode.record import Encoded, encode
from medshards.shards.encode.resize import fit
from medshards.shards.prove.stats import corpus_stats
from medshards.shards.prove.verify import verify
from medshards.vocab.vocabulary import Vocabulary, load_labels
from tests.shards.conftest import Build


def _sample(pixels: np.ndarray, masks: list[np.ndarray], concept: str = "polyp") -> Sample:
    instances = [Instance(concept, Region.of(m), str(k)) for k, m in enumerate(masks)]
    return Sample("a", Image(pixels, b"original bytes", "jpg"), instances, "a", spacing=(0.5, 0.25))


def test_pixels_are_means_and_masks_take_the_pixel_under_the_centre() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (40, 24, 3), np.uint8)
    mask = rng.random((40, 24)) < 0.5
    sample = _sample(pixels, [mask])
    small, (instance,), vanished = fit(sample, sample.instances, 10)
    means = pixels.reshape(10, 4, 6, 4, 3).mean(axis=(1, 3))
    assert np.abs(small.image.pixels - means).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(instance.region.mask((10, 6)), mask[2::4, 2::4])
    assert vanished == 0
    assert small.spacing == (2.0, 1.0)
    assert small.image.encoded is None


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_size_takes_the_pixel_that_holds_the_centre(
    height: int, width: int, side: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    masks = [m for p in (0.02, 0.5, 1) if (m := rng.random((height, width)) < p).any()]
    sample = _sample(rng.integers(0, 65536, (height, width), np.uint16), masks)
    small, left, vanished = fit(sample, sample.instances, side)
    size = small.image.size
    assert max(size) == min(side, max(height, width))
    assert small.image.pixels.dtype == np.uint16
    rows, columns = (
        [floor((Fraction(i) + Fraction(1, 2)) * old / new) for i in range(new)]
        for old, new in zip((height, width), size, strict=True)
    )
    expected = [np.array([[mask[r, c] for c in columns] for r in rows]) for mask in masks]
    kept = {i.label: i for i in left}
    assert vanished == len(masks) - len(kept)
    for number, mask in enumerate(expected):
        if str(number) in kept:
            np.testing.assert_array_equal(kept[str(number)].region.mask(size), mask)
        else:
            assert not mask.any()


def test_the_record_tells_what_was_done() -> None:
    size = (64, 64)
    speck, lesion = np.zeros(size, bool), np.zeros(size, bool)
    speck[1, 1] = lesion[20:40, 20:40] = True
    instances = [
        Instance("malignant_breast_lesion", Region.of(speck), "malignant"),
        Instance("benign_breast_lesion", Region.of(lesion), "benign"),
    ]
    sample = Sample("a", Image(np.zeros(size, np.uint8)), instances, "a")
    policy = Policy.of(load_catalog()["busi"], Making(max_side=16), load_labels("busi"), Vocabulary.load())
    encoded = encode(sample, policy, [{"role": "image", "file": "a.png", "sha256": "0"}])
    assert isinstance(encoded, Encoded)
    record = encoded.record
    assert (record["size"], record["native_size"], record["image"]) == ([16, 16], [64, 64], "resized")
    assert record["lost"] == {"instances without a pixel at 16 px a side": 1}
    assert [i["area"] for i in record["instances"]] == [25]
    assert record["concepts"] == ["benign_breast_lesion"]
    assert record["absent"] == [], "a concept that vanished is no valid negative prompt"


def test_a_corpus_of_smaller_images(build: Build, tmp_path: Path) -> None:
    catalog = load_catalog()
    build(tmp_path / "native")
    build(tmp_path / "small", max_side=64)
    assert verify(tmp_path / "small") == []
    native, small = (
        {r["key"]: r for r in index.read_rows(tmp_path / n / "drive" / index.INDEX)}
        for n in ("native", "small")
    )
    assert {(r["height"], r["width"]) for r in small.values()} == {(64, 62)}  # of 146 x 141
    assert {k: r["split"] for k, r in small.items()} == {k: r["split"] for k, r in native.items()}
    figures = [corpus_stats(tmp_path / name, catalog)[0] for name in ("native", "small")]
    assert figures[0]["table1"] == figures[1]["table1"]
    assert figures[1]["median_area"] == pytest.approx(figures[0]["median_area"] * (64 / 146) ** 2, rel=0.1)
    manifest = read_manifest(tmp_path / "small/drive")
    assert manifest is not None
    assert manifest["policy"]["max_side"] == 64
    again = build(tmp_path / "small")
    assert (again.encoded, again.changed) == (8, True)
    assert (tmp_path / "small/drive/manifest.json").read_bytes() == (
        tmp_path / "native/drive/manifest.json"
    ).read_bytes()
