"""A few of many: in their order, from the first to the last, no two of them far further apart than others."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from medshards.common.spread import spread


@given(st.integers(0, 500), st.integers(0, 60))
def test_a_few_are_evenly_spread(count: int, most: int) -> None:
    chosen = spread(range(count), most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    if len(chosen) > 1:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        gaps = [b - a for a, b in pairwise(chosen)]
        assert max(gaps) - min(gaps) <= 1
