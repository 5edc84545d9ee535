"""SAM3's detection figures against values worked out by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from medshards.evaluate.detection import Detection, Matches, match, match_ious


def strip(start: int, end: int, axes: int = 1) -> NDArray[np.bool_]:
    """Pixels start … end of a row of 100 (or of a volume of 1×1×100)."""
    mask = np.zeros(100, bool)
    mask[start:end] = True
    return mask.reshape((1,) * axes + (100,))


@pytest.mark.parametrize("axes", [1, 2])
def test_instances_are_matched_so_that_all_together_agree_best(axes: int) -> None:
    first, second = strip(0, 10, axes), strip(10, 20, axes)
    wide = strip(0, 18, axes)  # IoU 10/18 with the first, 8/20 with the second
    narrow = strip(0, 9, axes)  # IoU 9/10 with the first, 0 with the second
    found = match([wide, narrow], [first, second])
    assert (found.predicted, found.true) == (2, 2)
    assert sorted(found.ious) == pytest.approx([8 / 20, 9 / 10])  # 1.3 in all; the other way 10/18
    assert found.hits.tolist() == [1] * 9 + [0]  # 0.9 reaches 0.50 … 0.90


def test_an_iou_on_the_threshold_counts() -> None:
    assert match([strip(0, 3)], [strip(0, 5)]).hits.tolist() == [1, 1, 1] + [0] * 7  # 0.6


def test_figures_worked_out_by_hand() -> None:
    pairs = [
        # (predicted, true, IoUs): hits at 0.50 0.55 0.60 0.65 0.70 0.75 0.80 0.85 0.90 0.95
        Matches(2, 2, (1.0, 0.72)),  # 2 2 2 2 2 1 1 1 1 1: F1 1 × 5, 1/2 × 5, mean 0.75
        Matches(3, 1, (0.62,)),  # 1 1 1 0 …: F1 2/4 × 3, mean 0.15
        Matches(0, 2),  # nothing found
        Matches(1, 0),  # answered though nothing is there
        Matches(0, 0),
        Matches(0, 0),
        Matches(0, 0),
    ]
    facts = Detection(pairs).facts()
    # of the positive pairs 10 instances are true or predicted; hits 3 3 3 2 2 1 1 1 1 1
    micro = (3 * 6 / 10 + 2 * 4 / 10 + 5 * 2 / 10) / 10
    assert facts["pmF1"] == pytest.approx(micro)  # 0.36
    assert facts["pMF1"] == pytest.approx((0.75 + 0.15) / 2)
    assert facts["image_level"] == {"tp": 2, "fp": 1, "tn": 3, "fn": 1}
    mcc = (2 * 3 - 1 * 1) / np.sqrt(3 * 3 * 4 * 4)  # 5 / 12
    assert facts["IL_MCC"] == pytest.approx(mcc)
    assert facts["IL_FPR"] == pytest.approx(1 / 4)
    assert facts["cgF1"] == pytest.approx(0.36 * 5 / 12)


def test_perfect_blind_and_talkative_models() -> None:
    perfect = Detection([Matches(1, 1, (1.0,)), Matches(0, 0)]).facts()
    assert (perfect["cgF1"], perfect["IL_MCC"], perfect["IL_FPR"]) == (1, 1, 0)
    silent = Detection([Matches(0, 1), Matches(0, 0)]).facts()
    assert (silent["cgF1"], silent["pmF1"], silent["pMF1"], silent["IL_FPR"]) == (0, 0, None, 0)
    talkative = Detection([Matches(1, 1, (1.0,)), Matches(1, 0)]).facts()
    assert (talkative["pmF1"], talkative["IL_MCC"], talkative["IL_FPR"], talkative["cgF1"]) == (1, 0, 1, 0)


def test_nothing_measured_is_no_figure() -> None:
    facts = Detection().facts()
    assert (facts["cgF1"], facts["pmF1"], facts["IL_FPR"]) == (None, None, None)
    present = Detection([Matches(1, 1, (1.0,))]).facts()  # whether it knows absence was never asked
    assert (present["pmF1"], present["IL_MCC"], present["cgF1"], present["IL_FPR"]) == (1, None, None, None)


def test_no_instances_on_either_side() -> None:
    assert match([], []) == Matches(0, 0)
    assert match([strip(0, 3)], []) == Matches(1, 0)
    assert match_ious(np.zeros((0, 2))) == Matches(0, 2)
    assert not Matches(0, 2).hits.any()
