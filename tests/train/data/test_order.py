"""The order of training is a contract: a change of the expected orders below breaks runs that are resumed."""

from collections import Counter, OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medshards.shards.read.corpus import Shards
from medshards.train.data.keyed_random import choose, keyed, number
from medshards.train.data.order import epoch_length, order
from medshards.train.data.quality import quality

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


def test_a_weight_is_a_number_from_0_upwards() -> None:
    with pytest.raises(ValueError, match="weight"):
        order(0, 0, [np.arange(4)], [-1])


def cut(members: int, each: int, size: int = 100) -> Shards:
    """A dataset in shards of so many samples and so many bytes."""
    return Shards(np.arange(members) // each, np.full(-(-members // each), size))


def test_a_literal_order_with_a_window() -> None:
    groups = [np.repeat([0, 1, 2], 4), np.arange(4)]
    local = order(0, 0, groups, [1, 1], [cut(12, 4), cut(4, 2)], window=300)
    first, second, third = (
        [2, 15, 1, 3, 14, 0],
        [7, 5, 6, 4],
        [10, 9, 11, 12, 13, 8],
    )  # two, one and two shards
    assert local.tolist() == first + second + third


def test_a_window_that_holds_all_gives_the_order_without() -> None:
    groups, weights = [np.repeat(np.arange(10), 4), np.arange(30)], [1.5, 3.0]
    shards = [cut(40, 8), cut(30, 7)]
    for window in (1000, 10**12):
        local = order(2, 5, groups, weights, shards, window)
        assert local.tolist() == order(2, 5, groups, weights).tolist()


def test_only_so_many_shards_as_the_window_holds_are_open_at_a_time() -> None:
    """Between its first and its last sample a shard has to be there: that of every place of an epoch is added up."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 100, 60)
    shards = Shards(np.repeat(np.arange(60), 20), sizes)
    for window in (200, 500, 1000):
        taken = shards.of[order(1, 3, [np.arange(1200)], [1.0], [shards], window)]
        first, last = (np.array([f(np.flatnonzero(taken == s)) for s in range(60)]) for f in (np.min, np.max))
        at_once = [sizes[(first <= place) & (place <= last)].sum() for place in range(1200)]
        assert window / 2 < max(at_once) <= window


def test_every_block_holds_the_mixture_of_the_whole() -> None:
    groups = [np.arange(4000), np.arange(1000)]
    shards = [cut(4000, 50), cut(1000, 50)]
    parts = order(0, 0, groups, [1, 2], shards, window=13 * 100).reshape(-1, 600)  # 12 of 120 visits
    small = (parts >= 4000).mean(axis=1)
    assert ((small > 0.2) & (small < 0.5)).all()  # a third


def downloads(taken: np.ndarray, shards: int) -> int:
    """How often a cache of so many shards, which forgets those used longest ago, has to fetch one."""
    held: OrderedDict[int, None] = OrderedDict()
    fetched = 0
    for shard in taken.tolist():
        fetched += shard not in held
        held[shard] = held.pop(shard, None)
        if len(held) > shards:
            held.popitem(last=False)
    return fetched


def test_a_cache_of_two_windows_fetches_each_shard_once_a_turn() -> None:
    shards = cut(600, 20)
    for weight, turns in ((1.0, 1), (0.3, 1), (2.5, 3)):
        local, all_over = (
            shards.of[order(0, 0, [np.arange(600)], [weight], [shards], window)] for window in (400, None)
        )
        assert 30 <= downloads(local, 8) <= 30 * turns
        assert downloads(all_over, 8) > 100 * weight


def test_slices_of_a_volume_are_spread_over_their_block() -> None:
    volumes = np.repeat(np.arange(120), 40)
    shards = cut(4800, 400)
    places = np.argsort(order(1, 0, [volumes], [1], [shards], window=400)).reshape(120, 40)
    gaps = np.diff(np.sort(places, axis=1), axis=1)
    assert gaps.min() > 5  # 30 on average: three shards are a block


def test_a_window_for_less_than_two_shards_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not hold two of the largest shards.*data\.window_gb"):
        order(0, 0, [np.arange(40)], [1], [cut(40, 4)], window=150)


def test_quality_tells_a_shuffle_from_none() -> None:
    groups, shards = [np.repeat(np.arange(100), 20), np.arange(2000)], [cut(2000, 100), cut(2000, 100)]
    sorted_ = quality(np.arange(4000), groups, shards)
    assert sorted_.nearest == sorted_.typical == 1
    assert sorted_.correlation == pytest.approx(1)
    assert sorted_.neighbours == pytest.approx(1, abs=1e-6)
    assert sorted_.same_shard == pytest.approx(40 * 99 / 3999)
    assert sorted_.mixture == pytest.approx(64, rel=0.05)  # each batch of one dataset: 2 · 32² / 32
    shuffled = quality(order(0, 0, groups, [1, 1], shards), groups, shards)
    assert shuffled.nearest > 80  # 200 on average
    assert abs(shuffled.correlation) < 0.05
    assert abs(shuffled.neighbours) < 0.05
    assert shuffled.same_shard == pytest.approx(1 / 40, abs=0.02)
    assert 0.5 < shuffled.mixture < 1.5
