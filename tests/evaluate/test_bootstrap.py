"""Intervals by group: as wide as statistics says, paired between models, and one drawing for every statistic."""

import numpy as np
import pytest

from medshards.evaluate.bootstrap import interval, interval_of, interval_of_datasets, interval_of_difference


def test_the_interval_of_independent_groups_is_that_of_the_central_limit_theorem() -> None:
    values = {f"patient {k}": [float(v)] for k, v in enumerate(np.random.default_rng(0).normal(0, 1, 400))}
    ends = interval(values)
    assert ends is not None
    sd = np.std([own[0] for own in values.values()])
    assert ends[1] - ends[0] == pytest.approx(2 * 1.96 * sd / 20, rel=0.1)


def test_images_of_one_patient_are_no_evidence_of_their_own() -> None:
    draw = np.random.default_rng(1)
    patients = {f"p{k}": [float(draw.normal())] * 25 for k in range(30)}
    images = {f"{name} {k}": [v] for name, own in patients.items() for k, v in enumerate(own)}
    by_patient, by_image = interval(patients), interval(images)
    assert by_patient is not None
    assert by_image is not None
    assert by_patient[1] - by_patient[0] > 4 * (by_image[1] - by_image[0])


def test_a_mean_and_any_statistic_are_drawn_alike() -> None:
    values = {f"g{k}": [float(k), float(k * k)] for k in range(12)}

    def mean(groups: list[str]) -> float:
        return float(np.mean([v for group in groups for v in values[group]]))

    assert interval_of(list(values), mean) == pytest.approx(interval(values))  # type: ignore[arg-type]


def test_a_difference_is_paired() -> None:
    """Two models that differ by a tenth on every patient, however much patients differ: nothing is uncertain."""
    first = {f"p{k}": [v, v / 2] for k, v in enumerate(np.random.default_rng(2).random(20))}
    second = {name: [v + 0.1 for v in own] for name, own in first.items()}
    assert interval_of_difference(first, second) == pytest.approx((0.1, 0.1))
    assert interval_of_difference(first, dict(list(second.items())[1:])) is None  # other samples


def test_one_group_says_nothing() -> None:
    assert interval({"a": [0.1, 0.9]}) is None
    assert interval_of(["a", "a"], lambda groups: 1.0) is None
    assert interval_of_datasets([{"a": [0.5]}]) is None
    both = interval_of_datasets([{"a": [0.5]}, {"b": [0.0], "c": [1.0]}])
    assert both == pytest.approx((0.25, 0.75))
