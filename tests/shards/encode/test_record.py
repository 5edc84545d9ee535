"""Samples as members: masks, overlaps, prompts, negatives; PNG files that any reader opens."""

import hashlib
import io
import json
from functools import cache

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.formats.pictures import png
from medshards.curate.sample import Image, Instance, Region, Reject, Sample
from medshards.curate.source import slugs
from medshards.shards.encode.fingerprint import fingerprint
from medshards.shards.encode.policy import Making, Policy
from medshards.shards.encode.record import Encoded, Origin, encode, layers
from medshards.vocab.vocabulary import Vocabulary, load_labels


@cache
def _policy(slug: str, profile: str = "default") -> Policy:
    return Policy.of(load_catalog()[slug], Making(profile), load_labels(slug), Vocabulary.load())  # type: ignore[arg-type]


def _instance(mask: np.ndarray, concept: str, label: str = "x") -> Instance:
    return Instance(concept, Region.of(mask), label)


def _box(size: tuple[int, int], top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def _members(encoded: Encoded) -> dict[str, bytes]:
    return {m.suffix: encoded.blob[m.offset : m.offset + m.size] for m in encoded.members}


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))
)
def test_mask_png_is_an_ordinary_png(mask: np.ndarray) -> None:
    data = png.encode_mask(mask)
    png.read_header(data)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(data))), mask)
    np.testing.assert_array_equal(png.decode(data), mask)


def test_a_mask_has_the_same_bytes_on_every_processor() -> None:
    """Digests of x86-64 without AVX (Nehalem) and with AVX2 (Haswell), both emulated, and of an AMD EPYC."""
    y, x = np.mgrid[:480, :640]
    mask = np.zeros((480, 640), np.uint8)
    for n in range(1, 40):
        mask[(x - 97 * n % 640) ** 2 + (y - 61 * n % 480) ** 2 < (5 + n) ** 2] = n
    digests = [
        hashlib.sha256(png.encode_mask(each)).hexdigest() for each in (mask, mask.astype(np.uint16) * 300)
    ]
    assert digests == [
        "b6358bd349291105d8b4163cee17916d43c5e184e42596f5761b9326100cc926",
        "8637e748e412a327a967fd52682166a0793307ecc66f3c1ad16f9e82f0871ed9",
    ]


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(
        hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30))),
        hnp.arrays(np.uint16, st.tuples(st.integers(1, 30), st.integers(1, 30))),
        hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30), st.just(3))),
    )
)
def test_image_png_is_lossless(pixels: np.ndarray) -> None:
    data = png.encode_image(pixels)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(data))), pixels)
    np.testing.assert_array_equal(png.decode(data), pixels)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(1, 9), st.integers(1, 9)), max_size=8
    )
)
def test_every_instance_is_stored_whole_however_they_overlap(boxes: list[tuple[int, int, int, int]]) -> None:
    size = (24, 24)
    masks = [_box(size, *b) for b in boxes]
    planes, plane_of = layers([_instance(m, "polyp") for m in masks], size)
    for number, (mask, plane) in enumerate(zip(masks, plane_of, strict=True), start=1):
        np.testing.assert_array_equal(planes[plane] == number, mask)
    overlap = bool(masks) and np.sum(masks, axis=0).max() > 1
    assert (len(planes) > 1) == overlap


def test_more_than_255_instances_take_16_bits() -> None:
    size = (40, 40)
    masks = [_box(size, 2 * (i // 20), 2 * (i % 20), 1, 1) for i in range(300)]
    planes, _ = layers([_instance(m, "cell_nucleus") for m in masks], size)
    assert planes[0].dtype == np.uint16
    assert len(planes) == 1
    assert sorted(np.unique(planes[0])) == list(range(301))


def test_members_prompts_and_negatives() -> None:
    size = (30, 20)
    image = Image(np.zeros((*size, 3), np.uint8))
    lesion = _instance(_box(size, 3, 4, 5, 6), "benign_breast_lesion", "benign")
    sample = Sample("a", image, [lesion], "a")
    encoded = encode(sample, _policy("busi"), [{"role": "image", "file": "a.png", "sha256": "0"}])
    assert isinstance(encoded, Encoded)
    assert [m.suffix for m in encoded.members] == ["png", "mask.png", "txt"]
    assert _members(encoded)["txt"] == b"benign breast lesion\n"
    (instance,) = encoded.record["instances"]
    assert (instance["area"], instance["bbox"]) == (30, [4, 3, 6, 5])
    assert encoded.record["absent"] == ["malignant_breast_lesion"]
    json.dumps(encoded.record)


def test_a_broader_concept_is_not_absent() -> None:
    size = (8, 8)
    polyp = _instance(_box(size, 1, 1, 4, 4), "neoplastic_polyp", "neoplastic")
    sample = Sample(
        "a", Image(np.zeros(size, np.uint8)), [polyp], "a", concepts=("polyp", "non_neoplastic_polyp")
    )
    assert _policy("bkai_neopolyp").absent(sample) == ["non_neoplastic_polyp"]


FLOORS = [slug for slug, entry in load_catalog().items() if entry.min_area and slug in slugs()]


@pytest.mark.parametrize("profile", ["default", "paper"])
@pytest.mark.parametrize("slug", FLOORS)
def test_what_was_annotated_and_left_out_for_its_size_is_not_absent(slug: str, profile: str) -> None:
    """One pixel of each label of each dataset with a floor; whatever becomes of it, it is there."""
    policy, labels = _policy(slug, profile), load_labels(slug)
    for label in (label for label in labels.labels.values() if label.concept):
        instance = _instance(_box((64, 64), 9, 9, 1, 1), str(label.concept), label.native)
        sample = Sample(
            "a", Image(np.zeros((64, 64), np.uint8)), [instance], "a", concepts=tuple(labels.concepts)
        )
        absent = policy.absent(sample)
        assert label.concept not in absent
        ignored = policy.rule is not None and label.native in policy.rule.ignore_labels
        if profile == "paper" and policy.rule is not None and policy.rule.concept and not ignored:
            assert absent == []
        empty = _instance(np.zeros((64, 64), bool), str(label.concept), label.native)
        sample.instances = [empty]
        assert policy.absent(sample)
    bare = Sample("a", Image(np.zeros((64, 64), np.uint8)), [], "a", concepts=tuple(labels.concepts))
    assert policy.absent(bare)


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 9)))
def test_nothing_is_absent_where_something_was_lost(lost: dict[str, int]) -> None:
    sample = Sample(
        "a", Image(np.zeros((8, 8), np.uint8)), [], "a", concepts=("polyp", "non_neoplastic_polyp"), lost=lost
    )
    assert bool(_policy("bkai_neopolyp").absent(sample)) == (not any(lost.values()))


def test_a_converter_cannot_overwrite_a_field_of_the_record() -> None:
    sample = Sample("a", Image(np.zeros((8, 8), np.uint8)), [], "a", extra={"split": "train"})
    encode(Sample("a", sample.image, [], "a", extra={"laterality": "left"}), _policy("drive"), [ORIGIN])
    for field in ("key", "instances", "absent", "group"):
        sample.extra = {field: "mine"}
        with pytest.raises(Reject, match=f"reserved_field.*{field}"):
            encode(sample, _policy("drive"), [ORIGIN])


ORIGIN: Origin = {"role": "image", "file": "a.png", "sha256": ""}


@pytest.mark.parametrize("key", ["../../x", "a.b", "a\nb", "", "a" * 81, "grö", "a/b", " a"])
def test_a_key_that_could_lead_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(Reject, match="unsafe_key"):
        encode(Sample(key, Image(np.zeros((8, 8), np.uint8)), [], "a"), _policy("drive"), [ORIGIN])


@pytest.mark.parametrize("kind", ["grey", "rgb"])
def test_fingerprint_survives_recompression_and_tells_pictures_apart(kind: str) -> None:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 255, (12, 14, 3), np.uint8)
    picture = np.asarray(PIL.Image.fromarray(small).resize((280, 240), PIL.Image.Resampling.BICUBIC))
    other = np.asarray(PIL.Image.fromarray(small[::-1, ::-1].copy()).resize((280, 240)))
    if kind == "grey":
        picture, other = picture[:, :, 0].copy(), other[:, :, 0].copy()
    stream = io.BytesIO()
    PIL.Image.fromarray(picture).save(stream, "JPEG", quality=90)
    again = np.asarray(PIL.Image.open(stream))

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        """Mean difference in grey values of the small pictures."""
        x, y = (np.frombuffer(fingerprint(p), np.uint8).astype(int) for p in (a, b))
        return float(np.abs(x - y).mean())

    assert distance(picture, again) <= 1
    assert distance(picture, other) > 40
