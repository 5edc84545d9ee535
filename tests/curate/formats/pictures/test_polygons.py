"""Polygons: which pixels count, against exact arithmetic pixel by pixel, and against areas known from elsewhere."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from medshards.curate.formats.pictures import polygons

Points = list[tuple[float, float]]


def covers(points: Points, x: Fraction, y: Fraction) -> bool:
    """Is (x, y) inside a polygon (even-odd) or on its boundary? Exact."""
    inside = False
    corners = [(Fraction(cx), Fraction(cy)) for cx, cy in points]
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
        turn = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if turn == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
            return True
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            inside = not inside
    return inside


def exactly(points: Points, size: tuple[int, int], centre: Fraction) -> np.ndarray:
    rows = [[covers(points, c + centre, r + centre) for c in range(size[1])] for r in range(size[0])]
    return np.array(rows)


@pytest.mark.parametrize("centre", [0.5, 0.0])
@pytest.mark.parametrize("step", [1, 2, 8])  # whole, half and eighth px: many corners and edges meet centres
def test_every_pixel_against_exact_arithmetic(centre: float, step: int) -> None:
    rng = np.random.default_rng(step)
    size = (9, 11)
    for _ in range(60):
        corners = rng.integers(-2 * step, 12 * step, (rng.integers(3, 8), 2)) / step
        points = [(float(x), float(y)) for x, y in corners]
        expected = exactly(points, size, Fraction(centre))
        outside = corners.max(axis=0).min() < 0 or (corners.min(axis=0) > size[::-1]).any()
        if outside:
            assert not expected.any()
            continue
        got = polygons.fill(points, size, centre).mask(size)
        assert np.array_equal(got, expected), points


def shoelace(points: Points) -> float:
    """Area inside a polygon that does not cross itself (Gauss)."""
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]]))) / 2


def test_square_of_the_plane_and_square_of_pixels() -> None:
    square = [(2, 1), (6, 1), (6, 4), (2, 4)]
    plane = polygons.fill(square, (10, 10))
    assert (plane.area, plane.bbox) == (12, (2, 1, 4, 3))
    indices = polygons.fill(square, (10, 10), centre=0)
    assert (indices.area, indices.bbox) == (20, (2, 1, 5, 4))
    assert np.array_equal(polygons.fill_outlined(square, (10, 10)).mask((10, 10)), indices.mask((10, 10)))


def test_direction_start_and_closing_point_do_not_matter() -> None:
    points = [(1.2, 1.1), (8.6, 2.3), (7.1, 8.8), (3.3, 6.4)]
    reference = polygons.fill(points, (10, 10)).mask((10, 10))
    for variant in (points[::-1], points[2:] + points[:2], [*points, points[0]]):
        assert np.array_equal(polygons.fill(variant, (10, 10)).mask((10, 10)), reference)


def test_number_of_pixels_is_the_area_on_average() -> None:
    rng = np.random.default_rng(5)
    difference = []
    for _ in range(200):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        points = (
            40 + 15 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + rng.uniform(0, 1, 2)
        ).tolist()
        difference.append(polygons.fill(points, (80, 80)).area - shoelace(points))
    assert abs(np.mean(difference)) < 0.6


def test_what_lies_outside_is_cut_off_and_a_stray_polygon_refused() -> None:
    half = polygons.fill([(-5, -5), (3, -5), (3, 30), (-5, 30)], (10, 20))
    assert half.bbox == (0, 0, 3, 10)
    assert polygons.fill_outlined([(-5, -5), (2, -5), (2, 30), (-5, 30)], (10, 20)).bbox == (0, 0, 3, 10)
    for fill in (polygons.fill, polygons.fill_outlined):
        with pytest.raises(ValueError, match="outside its image of 20 x 10"):
            fill([(30, 1), (40, 1), (35, 5)], (10, 20))


@pytest.mark.parametrize(
    "points",
    [[], [(1, 1), (2, 2)], [(0, 0, 0)] * 3, [(0, 0), (float("nan"), 1), (1, 1)], [(0, 0), (1e18, 1), (1, 1)]],
)
def test_what_is_no_polygon_is_refused(points: list) -> None:
    with pytest.raises(ValueError, match="polygon"):
        polygons.fill(points, (10, 10))


def test_thin_polygon_may_hold_no_centre_but_its_outline_is_drawn() -> None:
    sliver = [(1.6, 1.6), (1.9, 1.6), (1.7, 1.9)]
    assert polygons.fill(sliver, (10, 10)).area == 0
    assert polygons.fill_outlined(sliver, (10, 10)).area == 1


def test_outlined_gives_a_published_area(samples: Path) -> None:
    """2,295 px: area of both lesions of BTXRD IMG000798 in a public conversion that rounds the points and fills."""
    file = samples / "btxrd/BTXRD/Annotations/IMG000798.json"
    if not file.is_file():
        pytest.skip("IMG000798 is absent")
    drawn = json.loads(file.read_text())
    shapes = [s["points"] for s in drawn["shapes"] if s["shape_type"] == "polygon"]
    size = drawn["imageHeight"], drawn["imageWidth"]
    union = np.logical_or.reduce([polygons.fill_outlined(p, size).mask(size) for p in shapes])
    assert union.sum() == 2295
    for points in shapes:
        assert abs(polygons.fill(points, size).area / shoelace(points) - 1) < 0.02
