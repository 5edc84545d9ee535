"""Splits: scikit-learn's rule for the paper, whole groups and near-duplicates otherwise."""

import math
from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medshards.shards.build.split import (
    TRAIN,
    VAL,
    group_split,
    merge_duplicates,
    near_duplicates,
    paper_split,
)


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


def _fingerprint(rng: np.random.Generator, flips: int, base: bytes | None = None) -> bytes:
    bits = np.unpackbits(np.frombuffer(base or rng.bytes(32), np.uint8))
    bits[rng.choice(256, flips, replace=False)] ^= 1
    return np.packbits(bits).tobytes()


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_near_duplicates_are_those_within_six_bits(seed: int, flips: int) -> None:
    rng = np.random.default_rng(seed)
    prints = [rng.bytes(32) for _ in range(20)]
    prints.append(_fingerprint(rng, flips, prints[7]))
    assert near_duplicates(prints) == ([(7, 20)] if flips <= 6 else [])


def test_duplicates_join_groups_but_likeness_does_not_join_patients() -> None:
    rng = np.random.default_rng(0)
    a = rng.bytes(32)
    near = _fingerprint(rng, 3, a)
    digests = [bytes([i]) * 32 for i in range(4)]
    other = [rng.bytes(32), rng.bytes(32)]
    # without patients (every image its own group): near-duplicates are one group
    assert merge_duplicates(["w", "x", "y", "z"], digests, [a, near, *other]) == ["w", "w", "y", "z"]
    # two known patients with like images stay apart …
    assert merge_duplicates(["p", "p", "q", "q"], digests, [a, other[0], near, other[1]]) == [
        "p",
        "p",
        "q",
        "q",
    ]
    # … and are joined by one equal image
    digests[2] = digests[0]
    assert merge_duplicates(["p", "p", "q", "q"], digests, [a] * 4) == ["p"] * 4


def test_blank_slices_do_not_tie_volumes_together() -> None:
    assert merge_duplicates(["p", "p", "q", "q"], [b"1", b"2", b"1", b"3"], [bytes(32), b"a" * 32] * 2) == [
        *"ppqq"
    ]


def test_uniform_pictures_prove_nothing() -> None:
    assert near_duplicates([bytes(32), bytes(32), b"\xff" * 32]) == []
