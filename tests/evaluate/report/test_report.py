"""The averages of a report, by hand."""

import json
from typing import Any

import pytest

from medshards.evaluate.report.rows import Measured, Row
from medshards.evaluate.report.text import Report
from medshards.train.model.answers import Rule

TOP1, SEMANTIC = Rule("top1", 0.1), Rule("semantic")


def row(concept: str, dice: float, rule: Rule = TOP1, **other: Any) -> Row:
    empty = "none" if dice else "prediction"
    return Row(str(rule), concept, concept, 50, 1000, empty, True, 0.5, dice, dice / 2, **other)


def absent(concept: str, claimed: bool) -> Row:
    return Row(str(TOP1), concept, concept, 0, 1000, "truth" if claimed else "both", claimed, 0.5)


def sample(dataset: str, number: int, *rows: Row, group: str = "") -> Measured:
    return Measured(dataset, number, f"k{number}", group or f"g{number}", rows)


def report(*samples: Measured, rules: tuple[Rule, ...] = (TOP1,)) -> Report:
    return Report({"corpus_digest": "abc"}, {s.dataset: ("val", "native") for s in samples}, rules, samples)


def test_pairs_count_alike_and_classes_count_alike() -> None:
    benign = [sample("busi", k, row("benign", dice)) for k, dice in enumerate((0.9, 0.6, 0.3))]
    (facts,) = report(*benign, sample("busi", 3, row("malignant", 0.2))).facts()["datasets"]
    assert (facts["pairs"], facts["images"]) == (4, 4)
    assert facts["dice"] == pytest.approx(2.0 / 4)
    assert facts["dice_of_classes"] == pytest.approx((0.6 + 0.2) / 2)
    assert facts["iou"] == pytest.approx(1.0 / 4)
    assert facts["iou_of_classes"] == pytest.approx((0.3 + 0.1) / 2)
    own = facts["classes"]["benign"]
    assert (own["pairs"], own["dice"], own["iou"]) == (3, pytest.approx(0.6), pytest.approx(0.3))


def test_without_pairs_there_is_no_figure() -> None:
    empty = report(sample("busi", 0))
    (facts,) = empty.facts()["datasets"]
    assert (facts["pairs"], facts["dice"], facts["iou_of_classes"], facts["dice_ci95"]) == (
        0,
        None,
        None,
        None,
    )
    assert empty.rows(TOP1)[0][-1] == "-"


def test_datasets_count_alike_whatever_their_size_and_rules_are_never_mixed() -> None:
    samples = [sample("a", k, row("x", 0.8), row("x", 1.0, SEMANTIC)) for k in range(9)]
    whole = report(*samples, sample("b", 0, row("x", 0.2)), sample("c", 0), rules=(TOP1, SEMANTIC))
    rows = whole.rows(TOP1)
    assert [r[0] for r in rows] == ["a (val)", "b (val)", "c (val)", "mean of 2 datasets"]
    assert rows[-1][1:4] == ["10", "10", "0.5000"]
    assert whole.overall[SEMANTIC]["dice"] == 1
    assert whole.overall[TOP1]["iou"] == pytest.approx(0.25)


def test_empty_answers_and_empty_predictions_are_counted() -> None:
    whole = report(
        sample("a", 0, row("x", 0.5, hd95=3.0, nsd=1.0), absent("y", False)),
        sample("a", 1, row("x", 0.0, nsd=0.0), absent("y", True)),
        sample("a", 2, absent("y", False)),
    )
    (facts,) = whole.facts()["datasets"]
    assert (facts["absent"], facts["absent_empty"], facts["pairs"], facts["images"]) == (3, 2, 2, 2)
    assert facts["empty"] == {"none": 1, "prediction": 1}
    assert (facts["hd95"], facts["nsd"]) == (3.0, 0.5)  # no distance to nothing; its NSD is 0
    assert "| 1 |" in whole.markdown()


def test_intervals_resample_groups_not_images() -> None:
    """Ten images of each of two patients: the interval reaches from the worse to the better patient."""
    samples = [
        sample("a", k, row("x", 0.2 if k < 10 else 0.8), group=f"patient {k // 10}") for k in range(20)
    ]
    (facts,) = report(*samples).facts()["datasets"]
    assert facts["dice"] == pytest.approx(0.5)
    assert facts["dice_ci95"] == (pytest.approx(0.2), pytest.approx(0.8))
    one = report(*samples[:10]).facts()["datasets"][0]
    assert one["dice_ci95"] is None, "of one patient nothing can be said"


def test_size_classes_and_breakdowns() -> None:
    small = Row(str(TOP1), "x", "x", 5, 1000, "none", True, 0.5, 0.4, 0.3)
    whole = report(sample("kvasir_seg", 0, small, row("y", 0.8)), sample("nonesuch", 1, row("x", 0.6)))
    parts = whole.facts()["breakdowns"][str(TOP1)]
    assert {name: own["pairs"] for name, own in parts["size"].items()} == {"0.1 to 1 %": 1, "1 to 10 %": 2}
    assert parts["concept"]["x"]["dice"] == pytest.approx(0.5)
    assert set(parts["modality"]) == {"Endoscopy", "unknown"}


def test_markdown_and_json_hold_how_it_was_made_and_what_was_not_read() -> None:
    bad = Measured("a", 7, "k7", "", problem="is truncated")
    whole = report(sample("a", 0, row("x", 0.5)), bad)
    page = whole.markdown()
    assert "| a (val) | 1 | 1 | 0.5000 | - | 0.2500 |" in page
    assert "- corpus digest: abc" in page
    assert "- a/k7: is truncated" in page
    facts = json.loads(json.dumps(whole.facts()))
    assert facts["made"] == {"corpus_digest": "abc"}
    assert facts["unreadable"] == [{"dataset": "a", "sample": "k7", "reason": "is truncated"}]
