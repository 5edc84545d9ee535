"""Who takes which sample when: exactly once, whatever ranks, stops and windows there are."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medshards.shards.read.corpus import Shards
from medshards.train.data.plan import Plan, Request, Slices


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
    shards = [Shards(np.arange(4), np.full(4, 100))]
    with pytest.raises(ValueError, match="two of the largest shards"):
        Plan(0, [np.arange(4)], [1], shards, window=150)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any corpus, weights and window."""
    groups, weights, shards = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        samples, members = draw(st.integers(1, 60)), draw(st.integers(1, 12))
        groups.append(np.arange(samples) // members)
        weights.append(draw(st.sampled_from([0.0, 0.3, 1.0, 1.25, 2.0])))
        of = np.arange(samples) // draw(st.integers(1, 20))
        sizes = draw(st.lists(st.integers(1, 100), min_size=int(of[-1]) + 1, max_size=int(of[-1]) + 1))
        shards.append(Shards(of, np.array(sizes)))
    weights[0] = max(weights[0], 1.0)  # an epoch has a sample at least
    window = draw(st.none() | st.integers(2 * max(int(s.sizes.max()) for s in shards), 1500))
    return Plan(draw(st.integers(0, 2**32)), groups, weights, shards, window)


@given(plans(), st.data())
@settings(max_examples=80, deadline=None)
def test_every_sample_comes_exactly_once_wherever_a_run_stops_and_goes_on(
    plan: Plan, data: st.DataObject
) -> None:
    """A run of a few parts, each on another number of ranks, against the same samples taken by one."""
    taken: list[Request] = []
    for _ in range(data.draw(st.integers(1, 4))):
        world, per_rank = data.draw(st.sampled_from([1, 2, 3, 4, 8])), data.draw(st.sampled_from([1, 2]))
        batch = 48  # of every one of these shapes a multiple
        ranks = [iter(Slices(plan, len(taken), batch, per_rank, rank, world)) for rank in range(world)]
        for _ in range(data.draw(st.integers(1, 3)) * batch // (world * per_rank)):
            taken += [request for rank in ranks for request in next(rank)]
    assert taken == plan.requests(0, len(taken))
    whole = len(taken) // plan.length
    for epoch in range(whole):
        counts = Counter(r.sample for r in taken[epoch * plan.length : (epoch + 1) * plan.length])
        assert {r.epoch for r in taken[epoch * plan.length : (epoch + 1) * plan.length]} == {epoch}
        first = 0
        for members, weight in zip(plan.groups, plan.weights):
            times = [counts[sample] for sample in range(first, first + len(members))]
            assert {int(weight)} <= set(times) | {int(weight)} <= {int(weight), int(weight) + 1}
            assert sum(times) == int(weight) * len(members) + int((weight % 1) * len(members) + 0.5)
            first += len(members)
