"""The likeness test: what is the same view is found, what is not is left alone, and time and memory stay bounded."""

import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshards.shards.build.likeness import PAIR, SAME, TRIES, Best, Sets, Views, join_alike, nearest
from medshards.shards.encode.fingerprint import SIDE, blank, fingerprint
from tests.shards.build.pictures import CHANGES, Picture, picture, pixels


def _green(path: Path) -> Picture:
    """The green channel of a picture on the disk."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, path
    return np.asarray(image[:, :, 1], np.uint8)


def _joined(fingerprints: list[bytes]) -> list[int]:
    sets = Sets([str(i) for i in range(len(fingerprints))])
    join_alike(Views(fingerprints), sets)
    return [int(label) for label in sets.label]


@pytest.fixture(scope="module")
def real(samples: Path) -> list[Picture]:
    """Some forty real images of ten datasets, no two of one view."""
    patterns = {
        "bkai_neopolyp": "train/train/*.jpeg",
        "busi": "*/*/*).png",
        "bus_uclm": "**/images/*.png",
        "chase_db1": "**/Image_*[LR].jpg",
        "drive": "**/*_t*.tif",
        "glas": "**/t*[0-9].bmp",
        "kvasir_seg": "**/images/*.jpg",
        "polypgen": "**/images*/*.jpg",
        "ravir": "**/training_images/*.png",
        "tn3k": "**/*-image/*.jpg",
    }
    paths = [p for slug, pattern in patterns.items() for p in sorted((samples / slug).glob(pattern))]
    assert len(paths) >= 30
    return [_green(path) for path in paths]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_real_picture_is_found(real: list[Picture], change: str) -> None:
    n = len(real)
    labels = _joined([fingerprint(p) for p in [*real, *(CHANGES[change](p) for p in real)]])
    found = sum(labels[i] == labels[i + n] for i in range(n))
    assert found >= 0.95 * n
    assert len(set(labels)) >= n  # and nothing else is joined


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_made_up_picture_is_found(change: str) -> None:
    originals = [pixels(seed) for seed in range(40)]
    labels = _joined([fingerprint(p) for p in [*originals, *(CHANGES[change](p) for p in originals)]])
    assert labels == [*range(40), *range(40)]


def test_unrelated_pictures_are_not_joined() -> None:
    labels = _joined([picture(seed) for seed in range(1500)])  # 1.1 million pairs
    assert labels == list(range(1500))


def test_unrelated_real_pictures_are_not_joined(real: list[Picture]) -> None:
    assert len(set(_joined([fingerprint(p) for p in real]))) == len(real)


def test_the_same_frame_under_two_names_is_found(samples: Path) -> None:
    frames = [samples / "arcade/arcade/stenosis" / f for f in ("train/images/1.png", "train/images/218.png")]
    other = (
        samples / "arcade/converted_nnunet/imagesTr/sten_0001_0000.png"
    )  # frame 1 with its contrast enhanced
    if not other.is_file():
        pytest.skip("the frames of ARCADE are absent")
    images = [_green(path) for path in (*frames, other)]
    assert _joined([fingerprint(p) for p in images]) == [0, 1, 0]


@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 100))
def test_brightness_and_depth_do_not_change_a_fingerprint(seed: int, gain: int, offset: int) -> None:
    image = pixels(seed, SIDE).astype(np.uint16)
    assert fingerprint(image * np.uint16(gain) + np.uint16(offset)) == fingerprint(image)


def test_a_picture_of_one_tone_is_blank_and_alike_to_none() -> None:
    tones = [fingerprint(np.full((50, 60), tone, np.uint8)) for tone in (0, 200, 200)]
    assert all(blank(tone) for tone in tones)
    assert _joined(tones) == [0, 1, 2]


def test_the_edge_of_a_field_of_view_is_no_likeness() -> None:
    y, x = np.mgrid[:256, :256] - 127.5
    disc = (x * x + y * y < 110**2).astype(np.uint8)
    assert _joined([fingerprint(disc * (pixels(seed) // 4 + 100)) for seed in range(30)]) == list(range(30))


def test_the_nearest_pair_stands_on_two_sides() -> None:
    prints = [picture(0), picture(0, noise=2), picture(1), picture(0, noise=20)]
    found = nearest(Views(prints), ["train", "train", "train", "val"])
    assert found is not None
    assert (found.i in (0, 1), found.j) == (True, 3)
    assert nearest(Views(prints), ["train"] * 4) is None
    assert nearest(Views(prints[2:]), ["train", "val"]) is None


def test_many_alike_pictures_take_linear_time() -> None:
    """Every second picture is one view: 2,000,000 pairs that a comparison of all would find."""
    prints = [picture(0, noise=6) if i % 2 else picture(i) for i in range(1, 4001)]
    start = time.process_time()
    labels = _joined(prints)
    assert time.process_time() - start < 60  # 2 s on a quiet machine
    assert len({label for label, i in zip(labels, range(1, 4001), strict=True) if i % 2}) == 1
    assert len(set(labels)) == 2001


def test_the_threshold_lies_between_copies_and_other_eyes(samples: Path) -> None:
    """Fundus pictures of different children are the most alike of all unrelated ones that were measured."""
    eyes = [samples / f"chase_db1/CHASE_DB1/Image_0{n}R.jpg" for n in (1, 5)]
    if not all(eye.is_file() for eye in eyes):
        pytest.skip("the images of CHASE_DB1 are absent")
    images = [_green(eye) for eye in eyes]
    changed = CHANGES["resized, re-encoded and 2 % cropped"](images[0])
    views = Views([fingerprint(p) for p in (*images, changed)])
    assert views.aligned(0, 1) < SAME - 0.02
    assert views.aligned(0, 2) > SAME + 0.02


def test_a_picture_takes_a_fifth_of_a_kilobyte() -> None:
    """A thousand of them are in memory at once; the others lie in a file."""

    def taken(count: int) -> int:
        prints = [picture(n % 8) for n in range(count)]
        tracemalloc.start()
        try:
            views = Views(prints)
            assert views.correlations(np.array([0]), np.array([count - 1])).shape == (1,)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    taken(1)  # the projections, which stay
    assert (taken(2048) - taken(1024)) / 1024 < 250


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(7, 12)), max_size=80),
    st.integers(1, 40),
)
def test_the_best_pairs_are_the_nearest_of_one_of_their_pictures(
    rows: list[tuple[int, int, int]], at_once: int
) -> None:
    best = Best()
    for start in range(0, len(rows), at_once):
        best.add(np.array(rows[start : start + at_once], PAIR))
    ordered = sorted(set(rows))
    before = [
        min(sum(other[end] == row[end] for other in ordered[:place]) for end in (1, 2))
        for place, row in enumerate(ordered)
    ]
    assert list(best) == [row[1:] for row, nearer in zip(ordered, before, strict=True) if nearer < TRIES]
