"""What is seen of 16-bit numbers is decided on reading: window of the record, another one, a random one."""

import numpy as np
import pytest

from medshards.common.window import parse_windows, random_window, shown, values

RECORD = {
    "key": "a",
    "intensity": {"slope": 0.5, "intercept": -1000.0, "unit": "HU", "window": [-160.0, 240.0]},
}
PIXELS = np.array([[0, 1680], [2080, 2480]], np.uint16)  # -1000, -160, 40 and 240 HU


def test_numbers_come_back_in_their_unit() -> None:
    np.testing.assert_array_equal(values(PIXELS, RECORD), [[-1000, -160], [40, 240]])
    with pytest.raises(ValueError, match="does not say"):
        values(PIXELS, {"key": "a", "intensity": None})


def test_the_window_of_the_record() -> None:
    grey = shown(PIXELS, RECORD)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, [[0, 0], [128, 255]])


def test_another_window_for_its_unit_only() -> None:
    wide = parse_windows(["HU=-1000:240", "SUV=0:10"])
    np.testing.assert_array_equal(shown(PIXELS, RECORD, wide), [[0, 173], [214, 255]])
    np.testing.assert_array_equal(shown(PIXELS, RECORD, parse_windows(["SUV=0:10"])), shown(PIXELS, RECORD))


def test_pictures_pass_through() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    assert shown(picture, {"intensity": None}, {"HU": (0, 1)}) is picture
    np.testing.assert_array_equal(shown(PIXELS, {}), PIXELS >> 8)


@pytest.mark.parametrize(
    "text", ["HU", "HU=1", "HU=5:5", "HU=9:1", "kelvin=0:1", "HU=a:b", "HU=0:inf", "HU=0:nan"]
)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="window"):
        parse_windows([text])


def test_random_windows_stay_near_and_reach_their_bounds() -> None:
    middle = random_window(RECORD, 0.2, 0.5, 0.5)["HU"]
    assert middle == pytest.approx((-160, 240))
    low, high = random_window(RECORD, 0.2, 0.0, 0.5)["HU"]
    assert (high + low) / 2 == pytest.approx(40)
    assert high - low == pytest.approx(400 / 1.2)
    low, high = random_window(RECORD, 0.2, 1.0, 1.0)["HU"]
    assert high - low == pytest.approx(480)
    assert (high + low) / 2 == pytest.approx(40 + 0.2 * 200)
    assert random_window({"intensity": None}, 0.2, 0.1, 0.1) == {}
