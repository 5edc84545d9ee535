"""Splits: scikit-learn's rule for the paper, whole groups and near-duplicates otherwise."""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build.split import (
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    default_split,
    group_split,
    merge_duplicates,
    paper_split,
    plan,
    published_split,
)
from medshards.shards.encode.fingerprint import LENGTH, SIDE
from medshards.shards.encode.policy import Making, Policy, Profile
from medshards.shards.encode.stage import Entry
from medshards.vocab.vocabulary import Vocabulary, load_labels
from tests.shards.build.pictures import picture


def test_paper_split_is_scikit_learns() -> None:
    # scikit-learn 1.5: train_test_split(list("abcdefghij"), test_size=0.15, random_state=42)[1] == ["i", "b"]
    assert [n for n, s in zip("abcdefghij", paper_split(list("abcdefghij"), 0.15, 42)) if s == VAL] == [
        "b",
        "i",
    ]


def test_paper_split_sorts_names_as_strings() -> None:
    names = ["2.png", "10.png", "1.png", "benign (10).png", "benign (1).png"]
    by_name = dict(zip(names, paper_split(names, 0.4, 42)))
    ordered = ["1.png", "10.png", "2.png", "benign (1).png", "benign (10).png"]
    chosen = np.random.RandomState(42).permutation(5)[:2]
    assert {n for n, s in by_name.items() if s == VAL} == {ordered[i] for i in chosen}


@given(st.lists(st.integers(0, 30).map(str), min_size=1, max_size=200))
def test_groups_are_never_divided_and_validation_is_bounded(groups: list[str]) -> None:
    splits = group_split(groups, 0.15, 42)
    seen = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        seen[group].add(split)
    assert all(len(s) == 1 for s in seen.values())
    count = splits.count(VAL)
    smallest = min(groups.count(g) for g in groups)
    assert count <= max(math.ceil(0.15 * len(groups)), smallest)
    assert (count > 0) == (len(seen) > 1)
    assert TRAIN in splits


@given(st.permutations(list(range(40))))
def test_the_order_of_samples_does_not_matter(order: list[int]) -> None:
    groups = [f"patient {i % 11}" for i in range(40)]
    straight = dict(zip(range(40), group_split(groups, 0.15, 42)))
    shuffled = dict(zip(order, group_split([groups[i] for i in order], 0.15, 42)))
    assert straight == shuffled


@given(
    st.lists(st.tuples(st.integers(0, 20).map(str), st.sampled_from([None, TRAIN, VAL, TEST])), max_size=80)
)
def test_what_the_authors_hold_out_is_never_trained_on(samples: list[tuple[str, str | None]]) -> None:
    groups, published = [g for g, _ in samples], [p for _, p in samples]
    splits = default_split(groups, published, 0.15, 42)
    found: dict[str, set[str]] = defaultdict(set)
    for group, official, split in zip(groups, published, splits, strict=True):
        found[group].add(split)
        assert SPLITS.index(split) >= SPLITS.index(official or TRAIN)
    assert all(len(parts) == 1 for parts in found.values())
    for group, (split,) in found.items():
        own = {p for g, p in samples if g == group}
        if split == TEST or (split == VAL and VAL in published):
            assert split in own


@pytest.mark.parametrize(
    ("name", "split"),
    {
        "training": TRAIN,
        "trainval": TRAIN,
        "val": VAL,
        "test": TEST,
        "testA": TEST,
        "fold1": None,
        None: None,
    }.items(),
)
def test_a_fold_or_a_site_is_no_published_split(name: str | None, split: str | None) -> None:
    assert published_split(name) == split


def _policy(slug: str, profile: Profile = "default") -> Policy:
    return Policy.of(load_catalog()[slug], Making(profile), load_labels(slug), Vocabulary.load())


def _entries(folder: Path, *samples: tuple[str, str, str | None]) -> list[Entry]:
    """Samples (key, group, official split), each with a picture of its own."""
    pack = folder / "pack"
    pack.write_bytes(b"".join(picture(n) for n in range(len(samples))))
    own = {"volume": None, "case": "", "input_key": "", "source": "", "offset": 0, "size": 0}
    meta = {"meta_source": str(pack), "meta_size": 0}
    return [
        Entry(key=k, group=g, digest=bytes([n]), name=k, official=o, meta_offset=n * LENGTH, **own, **meta)  # type: ignore[arg-type]
        for n, (k, g, o) in enumerate(samples)
    ]


def _splits(slug: str, entries: list[Entry], profile: Profile = "default") -> dict[str, str]:
    planned = plan(sorted(entries, key=lambda e: e.key), _policy(slug, profile))
    return {entry.key: split for entry, split, _ in planned}


DRIVE = [(f"{n}_training", str(n), "training") for n in range(21, 28)] + [("01_test", "1", "test")]


def test_the_published_test_part_stays_test(tmp_path: Path) -> None:
    splits = _splits("drive", _entries(tmp_path, *DRIVE))
    assert splits.pop("01_test") == TEST
    assert (
        sorted(splits.values()) == [TRAIN] * 5 + [VAL] * 2
    )  # ceil(0.15 · 7) = 2 of those that are not held out


def test_the_catalog_says_why_a_published_split_is_not_used(tmp_path: Path) -> None:
    entries = _entries(
        tmp_path, ("train_1", "a", "train"), ("testA_1", "a", "testA"), ("train_2", "b", "train")
    )
    assert load_catalog()["glas"].resplit
    assert sorted(_splits("glas", entries).values()) == [TRAIN, TRAIN, VAL]


def test_the_paper_splits_by_image_whatever_was_published(tmp_path: Path) -> None:
    splits = _splits("drive", _entries(tmp_path, *DRIVE), "paper")
    assert sorted(splits.values()) == [TRAIN] * 6 + [VAL] * 2


def test_external_data_is_test(tmp_path: Path) -> None:
    assert set(_splits("chase_db1", _entries(tmp_path, ("a", "a", "train"), ("b", "b", None))).values()) == {
        TEST
    }


def test_alike_pictures_join_guessed_groups_and_not_published_patients() -> None:
    digests = [bytes([i]) for i in range(4)]
    alike = [picture(0), picture(1), picture(0, noise=4), picture(2)]
    assert merge_duplicates(["p", "p", "q", "r"], digests, alike, known=False) == ["p", "p", "p", "r"]
    assert merge_duplicates(["p", "p", "q", "r"], digests, alike, known=True) == ["p", "p", "q", "r"]


def test_equal_pictures_join_patients_too() -> None:
    prints = [picture(i) for i in range(4)]
    assert merge_duplicates(list("qpsr"), [b"1", b"2", b"1", b"3"], prints, known=True) == list("qpqr")


def test_blank_slices_do_not_tie_volumes_together() -> None:
    prints = [bytes(SIDE * SIDE), picture(1), bytes(SIDE * SIDE), picture(2)]
    for known in (True, False):
        assert merge_duplicates(list("ppqq"), [b"1", b"2", b"1", b"3"], prints, known) == list("ppqq")
