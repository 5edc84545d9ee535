"""Dice and IoU against the numbers of the authors' released script, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from medshards.evaluate.metrics import overlap


def test_golden_pairs(golden: Path) -> None:
    checked = 0
    for path in sorted(golden.rglob("*.npz")):
        with np.load(path) as arrays:
            if "gt_0" not in arrays:
                continue
            for case in json.loads(path.with_suffix(".json").read_text())["cases"]:
                found = overlap(arrays[f"pred_{case['i']}"], arrays[f"gt_{case['i']}"])
                assert found == pytest.approx((case["dice"], case["iou"]), abs=1e-12)
                checked += 1
    assert checked


def test_counted_by_hand() -> None:
    prediction = np.array([[1, 1, 0], [0, 0, 0]], bool)
    truth = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)  # one pixel in common, four in the union
    assert overlap(prediction, truth) == (2 * 1 / 5, 1 / 4)


def test_two_empty_masks_agree_and_one_does_not() -> None:
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert overlap(empty, empty) == (1, 1)
    assert overlap(empty, full) == overlap(full, empty) == (0, 0)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        overlap(np.zeros((4, 1), bool), np.zeros((4, 4), bool))
