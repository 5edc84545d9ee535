"""Masks: components, ids, instance policies, and outlines that leave the image."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from medshards.curate.masks import apply_policy, by_id, components, fill_outline, split, union, unite
from medshards.curate.sample import Instance, Region

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)
MASKS = arrays(bool, SHAPES)
IDS = arrays(np.int32, SHAPES, elements=st.integers(0, 5))
NEIGHBOURS = {4: ndimage.generate_binary_structure(2, 1), 8: np.ones((3, 3))}


# -------------------------------------------------------------------------------------- components and ids


@given(MASKS, st.sampled_from([4, 8]))
def test_components_are_those_of_scipy_in_raster_order(mask: NDArray, connectivity: int) -> None:
    labels, count = ndimage.label(mask, NEIGHBOURS[connectivity])  # numbered in raster order, too
    found = components(mask, connectivity)
    assert len(found) == count
    for number, region in enumerate(found, start=1):
        assert np.array_equal(region.mask(mask.shape), labels == number)
        assert region.area == np.count_nonzero(labels == number)


@given(MASKS)
def test_regions_are_tight_and_add_up(mask: NDArray) -> None:
    found = components(mask)
    assert np.array_equal(union(found, mask.shape), mask)
    for region in found:
        assert region.crop[0].any() and region.crop[-1].any()  # noqa: PT018
        assert region.crop[:, 0].any() and region.crop[:, -1].any()  # noqa: PT018
    if found:
        whole = unite(found)
        assert np.array_equal(whole.mask(mask.shape), mask)
        assert whole.area == np.count_nonzero(mask)
        assert [r.bbox for r in split(whole)] == [r.bbox for r in found]


@given(IDS)
def test_every_id_is_one_region(ids: NDArray) -> None:
    found = by_id(ids)
    assert list(found) == sorted({int(value) for value in ids.ravel()} - {0})
    for value, region in found.items():
        assert np.array_equal(region.mask(ids.shape), ids == value)


# ------------------------------------------------------------------------------------------------ policies


def instance(*boxes: tuple[int, int, int, int], concept: str = "a", label: str = "x") -> Instance:
    """An instance of filled boxes (top, left, height, width)."""
    mask = np.zeros((30, 30), bool)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = True
    return Instance(concept, Region.of(mask), label)


TWO = instance((0, 0, 2, 3), (10, 10, 4, 4))
DIAGONAL = instance((0, 0, 2, 2), (2, 2, 2, 2))
OTHER = instance((20, 20, 3, 3), concept="b", label="y")
EMPTY = instance()


@pytest.mark.parametrize(
    ("policy", "areas"),
    [("native", [22, 9, 9]), ("components", [6, 16, 9, 9]), ("merged", [31, 9])],
)
def test_policies(policy: str, areas: list[int]) -> None:
    masks = [TWO, instance((5, 0, 3, 3), label="z"), EMPTY, OTHER]
    found, dropped = apply_policy(masks, policy)
    assert [i.area for i in found] == areas
    assert dropped == 0
    assert {i.concept for i in found} == {"a", "b"}
    if policy == "merged":
        assert [i.label for i in found] == ["x+z", "y"]


def test_a_floor_keeps_what_is_as_large() -> None:
    for floor, areas, dropped in ((6, [6, 16], 0), (7, [16], 1), (17, [], 2)):
        found, left_out = apply_policy([TWO], "components", floor)
        assert ([i.area for i in found], left_out) == (areas, dropped)


def test_connectivity_decides_over_corners() -> None:
    assert len(apply_policy([DIAGONAL], "components", connectivity=8)[0]) == 1
    assert len(apply_policy([DIAGONAL], "components", connectivity=4)[0]) == 2


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(ValueError, match="native, components or merged"):
        apply_policy([TWO], "each")


# ------------------------------------------------------------------------------------------------ outlines

SIZE, MARGIN = (90, 120), 200


def drawn(centre: tuple[int, int], axes: tuple[int, int], angle: int, width: int) -> tuple[NDArray, NDArray]:
    """(outline, outline and inside) of an ellipse in an image of SIZE, filled where it lies whole on a larger one."""
    canvas = np.zeros([side + 2 * MARGIN for side in SIZE], np.uint8)
    place = centre[0] + MARGIN, centre[1] + MARGIN
    cv2.ellipse(canvas, place, axes, angle, 0, 360, 1, width)
    whole = ndimage.binary_fill_holes(canvas)
    window = tuple(slice(MARGIN, MARGIN + side) for side in SIZE)
    return canvas[window], whole[window]


WHERE = {
    "inside": (60, 45),
    "left": (5, 45),
    "right": (115, 45),
    "top": (60, 4),
    "bottom": (60, 86),
    "top left": (12, 10),
    "top right": (108, 10),
    "bottom left": (12, 80),
    "bottom right": (108, 80),
}


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("angle", [0, 30, 90])
@pytest.mark.parametrize("place", WHERE)
def test_an_outline_is_filled_wherever_it_leaves_the_image(place: str, angle: int, width: int) -> None:
    outline, expected = drawn(WHERE[place], (36, 25), angle, width)
    assert np.array_equal(fill_outline(outline), expected)


@settings(max_examples=60)
@given(st.integers(-8, 20), st.integers(-8, 20), st.integers(28, 44), st.integers(28, 44), st.integers(0, 3))
def test_an_outline_cut_by_a_corner(x: int, y: int, a: int, b: int, corner: int) -> None:
    """Turned into each corner. The ellipse holds the corner pixel, and reaches neither of the far sides."""
    outline, expected = drawn((x, y), (a, b), 0, 2)
    if not expected[0, 0]:
        return
    flip = [slice(None, None, -1 if corner & bit else 1) for bit in (1, 2)]
    assert np.array_equal(fill_outline(outline[*flip]), expected[*flip])


def test_an_outline_across_the_image_is_closed_on_both_sides() -> None:
    outline, expected = drawn((60, 45), (80, 25), 0, 2)
    assert expected[45].all()
    assert np.array_equal(fill_outline(outline), expected)


def test_an_open_curve_stays_as_it_is() -> None:
    outline, _ = drawn((60, 45), (36, 25), 0, 1)
    outline[40:50] = 0
    assert np.array_equal(fill_outline(outline), outline > 0)
    assert not fill_outline(np.zeros(SIZE, bool)).any()


def test_a_thick_line_with_specks_is_not_taken_for_closed() -> None:
    """An open arc from side to side whose line has unpainted pixels: it is closed along the border none the less."""
    outline, expected = drawn((60, 86), (36, 25), 0, 5)
    speck = np.argwhere(ndimage.binary_erosion(outline))[0]
    outline[tuple(speck)] = 0
    assert np.array_equal(fill_outline(outline), expected)


def test_a_closed_curve_is_filled_as_drawn_though_it_touches_a_side_twice() -> None:
    """A U whose mouth lies at the left side, with arms of 5 px: its outline is between a half and a third of it."""
    region = np.zeros(SIZE, bool)
    region[20:60, :40] = True
    region[25:55, :35] = False
    outline = region & ~ndimage.binary_erosion(region)
    assert 2 * outline.sum() < region.sum() < 3 * outline.sum()
    assert np.array_equal(fill_outline(outline), region)
