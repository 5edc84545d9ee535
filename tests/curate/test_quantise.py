"""Slices keep their numbers: whole ones exactly, others within half of one step of their slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medshards.curate.quantise import percentile_window, to_slices, to_uint16
from medshards.curate.volumes import Volume


@given(arrays(np.int16, (4, 5)))
def test_whole_numbers_come_back_exactly(values: np.ndarray) -> None:
    stored, slope, intercept = to_uint16(values)
    assert stored.dtype == np.uint16
    assert slope == 1
    np.testing.assert_array_equal(stored * slope + intercept, values)


@given(arrays(np.float32, (4, 5), elements=st.floats(-1000, 50000, width=32)))
def test_reals_come_back_within_half_a_step(values: np.ndarray) -> None:
    stored, slope, intercept = to_uint16(values)
    step = (float(values.max()) - float(values.min())) / 65535
    assert np.abs(stored * slope + intercept - values.astype(float)).max() <= step / 2 * 1.001 + 1e-9


def volume(array: np.ndarray, modality: str, unit: str) -> Volume:
    return Volume(array, np.eye(4), modality, unit)


@pytest.mark.parametrize(
    ("unit", "name", "window"), [("hu", "HU", (-160, 240)), ("suvbw", "SUVbw g/ml", (0, 7))]
)
def test_units_and_their_windows(unit: str, name: str, window: tuple[float, float]) -> None:
    slices = to_slices(volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), "CT", unit))
    assert (slices.unit, slices.window, len(slices)) == (name, window, 2)
    assert slices.intensity(1).window == window


def test_magnetic_resonance_is_shown_between_percentiles_of_what_is_not_blank() -> None:
    array = np.zeros((10, 20, 20), np.int16)
    array[2:8, 5:15, 5:15] = np.arange(600).reshape(6, 10, 10) + 100
    array[3, 5, 5] = 30000  # an outlier
    window = to_slices(volume(array, "MR", "arbitrary")).window
    assert window == pytest.approx(tuple(np.percentile(array[array != 0], [0.5, 99.5])))
    assert window[1] < 800
    assert percentile_window(np.zeros((2, 2, 2))) == (0, 1)


def test_slices_of_one_value_are_known() -> None:
    array = np.zeros((2, 3, 3), np.float32)
    array[1, 0, 0] = 0.5
    slices = to_slices(volume(array, "PT", "suvbw"))
    assert [slices.is_uniform(k) for k in range(2)] == [True, False]
