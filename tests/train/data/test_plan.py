"""The order of training is a contract: a change of the expected orders below breaks runs that are resumed."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medshards.train.data.keyed_random import choose, keyed, number
from medshards.train.data.plan import Plan, Slices, epoch_length, order

MASK = (1 << 64) - 1


def splitmix(*words: int) -> int:
    """The documented hash, in Python's own integers."""
    state = 0
    for word in words:
        state = ((state ^ word) + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def test_the_hash_is_splitmix64() -> None:
    assert int(keyed(0)) == 0xE220A8397B1DCDAF  # first output of the published generator for seed 0
    assert keyed(7, np.arange(3), 5).tolist() == [splitmix(7, i, 5) for i in range(3)]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_the_hash_of_any_key(words: list[int]) -> None:
    assert int(keyed(*words)) == splitmix(*words)


def test_choice_depends_on_the_key_alone() -> None:
    assert choose("abcdef", 3, 1, 2) == choose("abcdef", 3, 1, 2)
    assert choose("abc", 5, 1) == ["a", "b", "c"]
    drawn = Counter(letter for key in range(3000) for letter in choose("abcdef", 3, key))
    assert all(1400 < count < 1600 for count in drawn.values())
    assert Counter(number(4, key) for key in range(4000)).keys() == {0, 1, 2, 3}


def test_literal_orders() -> None:
    singles = [np.arange(10)]
    assert order(0, 0, singles, [1]).tolist() == [2, 0, 4, 6, 3, 5, 1, 7, 9, 8]
    assert order(0, 1, singles, [1]).tolist() == [0, 6, 5, 2, 3, 7, 1, 9, 8, 4]
    volumes = [np.repeat([0, 1], 6), np.arange(4)]
    mixed = [7, 14, 2, 9, 1, 6, 5, 11, 3, 13, 8, 4, 10, 0]
    assert order(0, 0, volumes, [1, 0.5]).tolist() == mixed


datasets = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 10), st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.25, 2.0])),
    min_size=1,
    max_size=4,
).filter(lambda sets: any(weight >= 1 for _, _, weight in sets))


@given(datasets, st.integers(0, 2**32), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_every_sample_comes_as_often_as_its_weight_says(
    sets: list[tuple[int, int, float]], seed: int, epoch: int
) -> None:
    groups = [np.arange(size) % count for size, count, _ in sets]
    weights = [weight for _, _, weight in sets]
    seen = order(seed, epoch, groups, weights)
    assert len(seen) == epoch_length([len(g) for g in groups], weights)
    counts = np.bincount(seen, minlength=sum(map(len, groups)))
    first = 0
    for size, _, weight in sets:
        part = counts[first : first + size]
        first += size
        assert set(part) <= {int(weight), int(weight) + 1}
        assert part.sum() == int(weight) * size + int((weight % 1) * size + 0.5)


def test_a_fraction_reaches_every_sample_before_any_twice() -> None:
    groups = [np.arange(12)]
    turns = [Counter(order(3, epoch, groups, [0.25]).tolist()) for epoch in range(8)]
    assert all(sum(turn.values()) == 3 for turn in turns)
    assert sum(turns[:4], Counter()) == Counter(range(12))
    assert sum(turns, Counter()) == Counter(dict.fromkeys(range(12), 2))


def test_slices_of_a_volume_are_spread_over_the_epoch() -> None:
    volumes = np.repeat(np.arange(50), 40)
    places = np.argsort(order(1, 0, [volumes], [1])).reshape(50, 40)
    gaps = np.diff(np.sort(places, axis=1), axis=1)
    assert gaps.min() > 10  # 50 on average
    # and the slices of one volume come in no particular order
    assert abs(np.corrcoef(np.arange(40), places[0])[0, 1]) < 0.5


def test_epochs_differ_and_seeds_differ() -> None:
    groups = [np.arange(100)]
    orders = {tuple(order(seed, epoch, groups, [1])) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@given(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (6, 1), (4, 3)]), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_any_number_of_ranks_takes_the_same_global_batches(shape: tuple[int, int], steps_before: int) -> None:
    world, per_rank = shape
    plan, batch = Plan(5, [np.arange(31), np.arange(7)], [1, 2]), 12
    ranks = [iter(Slices(plan, steps_before * batch, batch, per_rank, rank, world)) for rank in range(world)]
    for step in range(steps_before, steps_before + 9):  # 108 samples: more than two epochs of 45
        chunks = [[next(rank) for rank in ranks] for _ in range(batch // (world * per_rank))]
        taken = [request for chunk in chunks for part in chunk for request in part]
        assert taken == plan.requests(step * batch, batch)


def test_epochs_follow_one_another_without_a_gap() -> None:
    plan = Plan(5, [np.arange(10)], [1])
    taken = [r for part in islice(iter(Slices(plan, 0, 4, 4, 0, 1)), 5) for r in part]
    assert [r.epoch for r in taken] == [0] * 10 + [1] * 10
    assert sorted(r.sample for r in taken[:10]) == sorted(r.sample for r in taken[10:]) == list(range(10))


def test_what_cannot_be_divided_is_refused() -> None:
    plan = Plan(0, [np.arange(4)], [1])
    with pytest.raises(ValueError, match="8 images cannot be divided among 3 ranks"):
        Slices(plan, 0, 8, 1, 0, 3)
    with pytest.raises(ValueError, match="without samples"):
        Plan(0, [np.arange(4)], [0])
    with pytest.raises(ValueError, match="weight"):
        order(0, 0, [np.arange(4)], [-1])
