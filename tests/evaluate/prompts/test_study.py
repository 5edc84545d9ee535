"""The study's perturbations against the conformance values of its published code."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medshards.evaluate.prompts import study
from medshards.evaluate.prompts.draws import Draws
from medshards.evaluate.prompts.families.catalog import choose
from medshards.evaluate.prompts.prompt import make_prompts
from medshards.evaluate.prompts.target import Part, Scene, Target

Mask = NDArray[np.bool_]


def box(shape: tuple[int, int, int], *sides: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


@pytest.fixture(name="a")
def inner_box() -> Mask:
    return box((12, 10, 8), (2, 9), (3, 8), (1, 6))


@pytest.fixture(name="b")
def box_in_the_corner() -> Mask:
    return box((8, 8, 8), (0, 5), (0, 5), (0, 5))


def test_voxel_counts_of_the_published_code(a: Mask, b: Mask) -> None:
    def counts(family: str, mask: Mask, radii: int) -> list[int]:
        return [int(getattr(study, family)(mask, r).sum()) for r in range(1, radii + 1)]

    assert (a.sum(), b.sum()) == (175, 125)
    assert counts("dilate", a, 4) == [441, 792, 960, 960]
    assert counts("dilate", b, 4) == [216, 343, 512, 512]
    assert counts("erode", a, 5) == [45, 3, 0, 0, 0]
    assert counts("erode", b, 5) == [64, 27, 8, 1, 0]
    assert counts("hole", a, 5) == [130, 172, 175, 175, 175]
    assert counts("hole", b, 5) == [61, 98, 117, 124, 125]


def test_with_background_outside_an_organ_is_eroded_from_the_border_too(a: Mask, b: Mask) -> None:
    assert [int(study.erode(b, r, outside=False).sum()) for r in (1, 2, 3)] == [27, 1, 0]
    np.testing.assert_array_equal(study.erode(a, 1, outside=False), study.erode(a, 1))
    everything = np.ones((5, 5, 5), bool)
    assert study.erode(everything, 3).sum() == 125
    assert study.hole(everything, 3).sum() == 0
    assert study.erode(everything, 2, outside=False).sum() == 1


def test_shifts_lose_what_leaves_the_array(a: Mask, b: Mask) -> None:
    moved = study.shift(a, (2, -1, 0))
    assert moved.sum() == 175
    assert round(2 * int((moved & a).sum()) / 350, 4) == 0.5714
    assert study.shift(a, (-3, -3, -3)).sum() == 90
    assert [int(study.shift(b, by).sum()) for by in ((2, -1, 0), (-3, -3, -3), (2, 2, 2))] == [100, 8, 125]


def test_the_shift_has_the_study_s_distribution() -> None:
    draws = Draws(1)
    shifts = np.array([study.draw_shift(draws) for _ in range(6000)])
    assert set(shifts.ravel()) == {-3, -2, -1, 0, 1, 2}
    assert abs(shifts.mean() + 0.5) < 0.05
    assert abs(np.linalg.norm(shifts, axis=1).mean() - 2.95) < 0.05
    assert np.linalg.norm(shifts, axis=1).max() < 5.2


def test_random_augmentation_takes_every_kind(a: Mask) -> None:
    made = {study.random_augmentation(a, Draws(seed)).tobytes() for seed in range(60)}
    single = {getattr(study, f)(a, r).tobytes() for f in ("dilate", "erode", "hole") for r in study.RADII}
    assert len(made & single) >= 8
    assert made - single  # the shifts


@pytest.mark.parametrize("radius", [0, -1])
def test_a_radius_is_positive(a: Mask, radius: int) -> None:
    with pytest.raises(ValueError, match="radius"):
        study.dilate(a, radius)


def test_as_families_they_are_the_study_s_in_the_whole_array(scene: Scene) -> None:
    for concept in ("liver", "aorta"):  # the aorta is cut by the border
        whole = scene.classes[concept].whole(scene.shape)
        ids = [f"M1c-{name}" for name in ("dilate", "erode", "hole")]
        target = Target(scene, concept, scene.classes[concept])
        for prompt in make_prompts(target, choose("full", ids), "full"):
            name, radius = prompt.record["family"].removeprefix("M1c-"), prompt.record["parameters"]["radius"]
            wanted = getattr(study, name)(whole, radius)
            if prompt.usable:
                part = prompt.payload()
                assert isinstance(part, Part)
                np.testing.assert_array_equal(part.whole(scene.shape), wanted)
            else:
                np.testing.assert_array_equal(wanted, whole)  # a hole that is none
