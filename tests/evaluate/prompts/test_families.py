"""Families of perturbations: severity as wanted, nested, the same whatever the arithmetic."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medshards.evaluate import metrics
from medshards.evaluate.prompts.distance import (
    UNITS,
    refined,
    signed_distance,
    squared_at,
    squared_distance,
    units,
)
from medshards.evaluate.prompts.draws import ONE, Draws, seed_of
from medshards.evaluate.prompts.families import boxes
from medshards.evaluate.prompts.families.catalog import FULL, choose, families
from medshards.evaluate.prompts.families.polygons import removal_areas
from medshards.evaluate.prompts.measure import Ruler
from medshards.evaluate.prompts.noise import smooth_noise
from medshards.evaluate.prompts.prompt import Prompt, make_prompts
from medshards.evaluate.prompts.severity import LADDERS
from medshards.evaluate.prompts.target import Part, Scene, Target

SOLID = ("liver", "spleen", "left_kidney", "stomach")


def made(scene: Scene, concept: str, *ids: str, part: str = FULL) -> list[Prompt]:
    return list(make_prompts(Target(scene, concept, scene.classes[concept]), choose(part, ids), part))


def mask_of(prompt: Prompt) -> Part:
    payload = prompt.payload()
    assert isinstance(payload, Part)
    return payload


def ball(shape: tuple[int, ...], centre: tuple[int, ...], radius: float) -> np.ndarray:
    grids = np.ogrid[tuple(slice(n) for n in shape)]
    return np.asarray(sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True)) <= radius**2)


@given(
    st.integers(0, 2**32),
    st.sampled_from([(30_000, 7_813, 7_813), (20_000, 9_000, 11_000), (10_000, 10_000)]),
)
@settings(max_examples=25, deadline=None)
def test_distances_are_those_of_every_pair(seed: int, spacing: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(tuple(rng.integers(1, 9, len(spacing)))) < 0.2
    points = np.argwhere(np.ones(mask.shape, bool))
    found = squared_distance(mask, spacing)
    if mask.any():
        steps = (points[:, None] - np.argwhere(mask)[None]) * np.array(spacing)
        np.testing.assert_array_equal(found.ravel(), (steps**2).sum(2).min(1))
    np.testing.assert_array_equal(squared_at(points, mask, spacing), found.ravel())


def test_a_refined_distance_keeps_every_voxel_on_its_side(scene: Scene) -> None:
    target = Target(scene, "liver", scene.classes["liver"])
    np.testing.assert_array_equal(target.refined <= 0, target.part.crop)
    signed = signed_distance(target.part.crop, target.spacing)
    assert len(np.unique(refined(signed, target.spacing))) > 3 * len(np.unique(signed))


@pytest.mark.parametrize("family", [f.id for f in families() if f.ladder != "own"])
def test_severity_is_reached_or_said_to_be_unreachable(scene: Scene, family: str) -> None:
    for concept in ("liver", "spleen"):
        prompts = made(scene, concept, family)
        assert len(prompts) == len(LADDERS["dice"])
        for prompt in prompts:
            record = prompt.record
            if record["unreachable"]:
                assert record["payload"] is None
                continue
            likeness = record["measured"]["dice" if record["kind"] == "mask" else "iou"]
            assert abs(likeness - record["nominal"]) <= 0.01
            if record["kind"] == "mask":
                both = mask_of(prompt).whole(scene.shape) & scene.classes[concept].whole(scene.shape)
                total = mask_of(prompt).voxels + scene.classes[concept].voxels
                assert abs(2 * both.sum() / total - likeness) < 1e-4


def test_95_of_100_prompts_of_the_core_ladders_reach_their_severity(scene: Scene) -> None:
    ids = [f.id for f in families() if f.core and f.ladder != "own"]
    records = [p.record for c in SOLID for p in made(scene, c, *ids)]
    assert np.mean([not r["unreachable"] for r in records]) >= 0.95


@pytest.mark.parametrize(
    "family", ["M1-grow", "M1-shrink", "M2-shell", "M3-cavity", "M4-pepper", "M7-wobble", "M10-cut"]
)
def test_severities_are_nested(scene: Scene, family: str) -> None:
    whole = scene.classes["liver"].whole(scene.shape)
    changed = [mask_of(p).whole(scene.shape) ^ whole for p in made(scene, "liver", family) if p.usable]
    assert len(changed) >= 4
    assert all(not (less & ~more).any() for less, more in pairwise(changed))


def test_growing_and_shrinking_are_so_many_millimetres() -> None:
    mask = ball((41, 41, 41), (20, 20, 20), 12)
    target = Target(_scene(mask), "liver", Part(mask, (0, 0, 0)).within(mask.shape))
    for family, sign in (("M1-grow", 1), ("M1-shrink", -1)):
        for prompt in make_prompts(target, choose(FULL, [family]), FULL):
            t = prompt.record["parameters"]["t"]
            found, radius = mask_of(prompt).whole(mask.shape), 12 + sign * t
            assert found[ball(mask.shape, (20, 20, 20), radius - 1)].all()  # within a voxel
            assert not found[~ball(mask.shape, (20, 20, 20), radius + 1)].any()


def test_a_shift_is_as_long_as_it_says(scene: Scene) -> None:
    for prompt in made(scene, "spleen", "M5-shift"):
        record = prompt.record
        assert abs(record["measured"]["centroid_shift"] - record["parameters"]["t"]) < 1.0  # mm
        assert abs(record["measured"]["volume_ratio"] - 1) < 0.1


def test_a_rotation_of_a_ball_changes_nothing_and_of_a_rod_turns_it() -> None:
    mask = np.zeros((41, 41, 41), bool)
    mask[18:23, 18:23, 5:36] = True
    target = Target(_scene(mask), "liver", Part(mask, (0, 0, 0)).within(mask.shape))
    for prompt in make_prompts(target, choose(FULL, ["M6-rotate"]), FULL):
        assert prompt.record["unreachable"] or abs(prompt.record["measured"]["volume_ratio"] - 1) < 0.12
        assert prompt.record["unreachable"] or prompt.record["measured"]["centroid_shift"] < 1.0


def test_the_prompts_do_not_hang_on_the_floats_of_the_header(scene: Scene) -> None:
    ids = ("M1-grow", "M5-shift", "M7-wobble", "M12-blob", "M13-leak", "M14-jitter", "P6-brightest")
    digests = []
    for dtype in (np.float32, np.float64):
        spacing = units(np.array([5.0, 0.7421875 * 4, 2.9 + 0.0688], dtype).tolist())
        image = np.rint(scene.image.astype(dtype)).astype(np.int32)
        again = Scene("c", "x", scene.shape, spacing, "mm", scene.classes, {}, lambda i=image: i)  # type: ignore[misc]
        digests.append([p.record["digest"] for p in made(again, "spleen", *ids)])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 35


def test_random_words_are_those_of_philox_for_ever() -> None:
    assert f"{seed_of('a', 1):016x}" == hashlib.sha256(b"a\n1\n").hexdigest()[:16]
    draws = Draws(7)
    assert [int(w) for w in draws.words(2)] == [int(w) for w in np.random.Philox(key=7).random_raw(2)]
    normal = Draws(3).normal(20_000) / ONE
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.02
    counts = np.bincount([Draws(k).integer(0, 5) for k in range(2000)])
    assert counts.min() > 320


def test_noise_has_unit_deviation_and_is_smooth() -> None:
    fields = [smooth_noise(Draws(k), (30, 40, 50), (30_000, 10_000, 10_000), 80_000) / ONE for k in range(12)]
    assert abs(np.std(fields) - 1) < 0.1
    neighbours = np.corrcoef(
        np.ravel([f[:, :, 1:] for f in fields]), np.ravel([f[:, :, :-1] for f in fields])
    )
    assert neighbours[0, 1] > 0.95
    far = np.corrcoef(np.ravel([f[:, :, 40:] for f in fields]), np.ravel([f[:, :, :-40] for f in fields]))
    assert abs(far[0, 1]) < 0.2


def test_cavity_and_blob_are_where_they_should_be(scene: Scene) -> None:
    liver = scene.classes["liver"].whole(scene.shape)
    for prompt in made(scene, "liver", "M3-cavity"):
        hole = liver & ~mask_of(prompt).whole(scene.shape)
        assert ndimage.binary_erosion(liver)[hole].all() or prompt.record["nominal"] < 0.8
    for prompt in made(scene, "liver", "M12-blob"):
        if prompt.usable:
            extra = mask_of(prompt).whole(scene.shape) & ~liver
            assert (mask_of(prompt).whole(scene.shape) >= liver).all()
            assert scene.air is not None
            assert (scene.image[extra] > scene.air).all()


def test_class_errors_show_the_other_class(scene: Scene) -> None:
    (side,) = made(scene, "left_kidney", "M15-side")
    np.testing.assert_array_equal(
        mask_of(side).whole(scene.shape), scene.classes["right_kidney"].whole(scene.shape)
    )
    assert side.record["expected"] == "prompt"
    assert made(scene, "liver", "M15-side")[0].record["unreachable"]
    (other,) = made(scene, "spleen", "M15-neighbour")
    name = other.record["parameters"]["class"]
    np.testing.assert_array_equal(mask_of(other).whole(scene.shape), scene.classes[name].whole(scene.shape))


def test_another_patient_is_the_next_who_has_the_organ(scene: Scene) -> None:
    asked: list[str] = []
    other = Part(np.roll(scene.classes["liver"].whole(scene.shape), 7, 2), (0, 0, 0)).within(scene.shape)

    def borrow(concept: str) -> tuple[str, Part] | None:
        asked.append(concept)
        return ("case-2", other) if concept == "liver" else None

    lent = replace(scene, borrow=borrow)
    (liver,), (spleen,) = (made(lent, concept, "M15-patient") for concept in ("liver", "spleen"))
    assert asked == ["liver", "spleen"]
    assert liver.record["parameters"] == {"from": "case-2"}
    assert liver.record["expected"] == "refuse"
    np.testing.assert_array_equal(mask_of(liver).whole(scene.shape), other.whole(scene.shape))
    assert spleen.record["unreachable"]  # nobody else has one


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_measured_distances_are_those_of_the_metrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(2, 4))
    spacing = rng.integers(5_000, 40_000, axes)
    shape = tuple(rng.integers(6, 14, axes))
    truth, shown = (ndimage.binary_dilation(rng.random(shape) < 0.01) for _ in range(2))
    truth[(3,) * axes] = shown[(2,) * axes] = True
    scene = replace(_scene(truth), spacing=tuple(int(s) for s in spacing))
    target = Target(scene, "liver", scene.classes["liver"])
    found = Ruler(target).measure(Part(shown, (0,) * axes))
    expected = metrics.distances(shown, truth, (spacing / UNITS).tolist())
    both = np.concatenate([expected.ahead, expected.back])
    assert found["hd95"] == pytest.approx(expected.hausdorff(), abs=1e-3)  # mm, as it is rounded
    assert found["mean_surface_distance"] == pytest.approx(both.mean(), abs=1e-3)


def test_a_polygon_loses_its_least_corners_first() -> None:
    square = np.array([[0, 0], [10, 0], [20, 1], [20, 20], [0, 20]], np.int32)
    assert removal_areas(square).tolist()[:2] == [400, 10]  # the flat corner first: half of 10 px² is 5
    mask = ball((81, 81), (40, 40), 30)
    scene = _scene(mask)
    prompts = list(
        make_prompts(Target(scene, "liver", scene.classes["liver"]), choose(FULL, ["M8-polygon"]), FULL)
    )
    corners = [p.record["parameters"]["corners"] for p in prompts]
    assert corners == sorted(corners, reverse=True)
    # Dice of a regular polygon of n corners in a disc: 6 have 0.91, 4 have 0.78, 3 have 0.58
    assert [p.record["unreachable"] for p in prompts] == [False] * 5
    assert corners[1] in (6, 7)
    assert corners[4] in (3, 4)


def test_a_leak_takes_like_tissue_before_other(scene: Scene) -> None:
    values = np.full((61, 61), 200_000, np.int32)
    values[10:51, 10:31] = 100_000  # like the target
    mask = np.zeros((61, 61), bool)
    mask[20:41, 12:22] = True
    plain = replace(_scene(mask), pixels=lambda: values)
    prompts = list(
        make_prompts(Target(plain, "liver", plain.classes["liver"]), choose(FULL, ["M13-leak"]), FULL)
    )
    assert all(p.usable for p in prompts)
    for prompt in prompts[:3]:
        assert (values[mask_of(prompt).whole(mask.shape)] == 100_000).all()
        assert prompt.record["parameters"]["within_sd"] == 2


def test_slices_are_copied_mirrored_and_missed(scene: Scene) -> None:
    liver = scene.classes["liver"]
    first = made(scene, "liver", "M14-ends")[0]
    assert mask_of(first).start[0] == liver.start[0] + 1
    assert mask_of(first).crop.shape[0] == liver.crop.shape[0] - 2
    copied = mask_of(made(scene, "liver", "M14-copied")[0]).whole(scene.shape)[liver.start[0] :]
    np.testing.assert_array_equal(copied[0], copied[1])
    off = made(scene, "liver", "M14-off-by")[0].record
    assert abs(off["measured"]["centroid_shift"] - 5.0) < 0.5  # one slice


def test_boxes_and_points(scene: Scene) -> None:
    tight = boxes.Box.around(scene.classes["spleen"])
    assert boxes.iou(tight, tight) == 1
    prompts = {
        (p.record["family"], p.record["severity"]): p
        for p in made(scene, "spleen", *[f.id for f in families() if f.kind in ("box", "points")])
    }
    large = prompts["B3-large", 3].payload()
    assert isinstance(large, boxes.Box)
    assert all(a <= b for a, b in zip(large.low, tight.low, strict=True))
    assert all(a >= b for a, b in zip(large.high, tight.high, strict=True))
    assert prompts["B4-margin", 1].record["parameters"] == {"k": 1, "unit": "px"}
    jittered = prompts["B5-jitter", 5].payload()
    assert isinstance(jittered, boxes.Box)
    assert len(jittered.slices) == scene.classes["spleen"].crop.shape[0]
    assert prompts["P0-deepest", 0].record["measured"]["inside"] == [True]
    assert prompts["P4-signs", 5].record["payload"]["wanted"].count(False) == 5
    assert all(prompts["P2-inside", 5].record["measured"]["inside"])
    assert len(prompts["P2-inside", 5].record["payload"]["at"]) == 20


def test_an_edge_of_one_voxel_moves_the_iou_as_computed_by_hand() -> None:
    one = boxes.Box((0, 0), (4 * UNITS, 4 * UNITS))
    other = boxes.Box((2 * UNITS, 0), (6 * UNITS, 4 * UNITS))
    assert boxes.iou(one, other) == pytest.approx(8 / 24)


def _scene(mask: np.ndarray) -> Scene:
    part = Part(mask, (0,) * mask.ndim).within(mask.shape)
    return Scene(
        "ball",
        "x",
        mask.shape,
        (UNITS,) * mask.ndim,
        "mm",
        {"liver": part},
        {},
        lambda: np.zeros(mask.shape, np.int32),
    )
