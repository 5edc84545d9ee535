"""Which slices of a volume become samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshards.curate.slices import check_rule, choose

ANNOTATED = [0, 3, 0, 9, 9, 1, 0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6]),
        ("annotated", [1, 3, 4, 5]),
        ("largest", [3]),  # the first of two equal ones
        ("middle", [3]),
        ("every 1", [0, 1, 2, 3, 4, 5, 6]),
        ("every 3", [0, 3, 6]),
        ("every 100", [0]),
    ],
)
def test_rules(rule: str, expected: list[int]) -> None:
    assert choose(rule, ANNOTATED) == expected


def test_volume_without_annotation() -> None:
    assert choose("annotated", [0, 0]) == []
    assert choose("largest", [0, 0]) == []
    assert choose("middle", [0, 0]) == [1]
    assert choose("middle", []) == []


def test_middle_of_an_even_number_is_the_upper_one() -> None:
    assert choose("middle", [0] * 256) == [128]


@pytest.mark.parametrize(
    "rule", ["", "every", "every 0", "every -2", "every 2.5", "every  2", "first", "ALL"]
)
def test_anything_else_is_refused_and_the_rules_are_named(rule: str) -> None:
    with pytest.raises(ValueError, match="largest"):
        choose(rule, ANNOTATED)
    with pytest.raises(ValueError, match="largest"):
        check_rule(rule)


@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.sampled_from(["all", "annotated", "largest", "middle", "every 4"]),
)
def test_indices_ascend_and_exist(annotated: list[int], rule: str) -> None:
    chosen = choose(rule, annotated)
    assert chosen == sorted(set(chosen))
    assert all(0 <= index < len(annotated) for index in chosen)
