"""The averages of a report, by hand."""

import json

import pytest

from medshards.evaluate.metrics import Overlap
from medshards.evaluate.protocol import Rule
from medshards.evaluate.report import Report, Score

TOP1, SEMANTIC = Rule("top1", 0.1), Rule("semantic")


def score(dataset: str, rule: Rule, **classes: list[float]) -> Score:
    found = Score(dataset, "val", "native", rule, images=7)
    for concept, dices in classes.items():
        for dice in dices:
            found.add(concept, Overlap(dice, dice / 2))
    return found


def test_pairs_count_alike_and_classes_count_alike() -> None:
    facts = score("busi", TOP1, benign=[0.9, 0.6, 0.3], malignant=[0.2]).facts()
    assert facts["pairs"] == 4
    assert facts["images"] == 7
    assert facts["dice"] == pytest.approx(2.0 / 4)
    assert facts["dice_of_classes"] == pytest.approx((0.6 + 0.2) / 2)
    assert facts["iou"] == pytest.approx(1.0 / 4)
    assert facts["iou_of_classes"] == pytest.approx((0.3 + 0.1) / 2)
    assert facts["classes"]["benign"] == {
        "pairs": 3,
        "dice": pytest.approx(0.6),
        "iou": pytest.approx(0.3),
    }


def test_without_pairs_there_is_no_figure() -> None:
    facts = score("busi", SEMANTIC).facts()
    assert (facts["pairs"], facts["dice"], facts["iou_of_classes"]) == (0, None, None)
    assert Report({}, [score("busi", SEMANTIC)]).rows()[0][-1] == "-"


def test_datasets_count_alike_whatever_their_size_and_rules_are_never_mixed() -> None:
    large, small = score("a", TOP1, x=[0.8] * 9), score("b", TOP1, x=[0.2])
    empty, other = score("c", TOP1), score("a", SEMANTIC, x=[1.0])
    rows = Report({}, [large, other, small, empty]).rows()
    assert len(rows) == 5
    assert rows[-1][0] == "mean of 2 datasets"
    assert rows[-1][3:8] == ["top1, score >= 0.1", "14", "10", "0.5000", "0.2500"]


def test_empty_answers_are_counted() -> None:
    some, none = score("a", TOP1, x=[0.5]), score("b", TOP1, x=[0.5])
    for empty in (True, False, True):
        some.add_absent(empty)
    rows = Report({}, [some, none]).rows()
    assert [row[-2:] for row in rows] == [["3", "2"], ["-", "-"], ["3", "2"]]
    facts = some.facts()
    assert (facts["absent"], facts["absent_empty"], facts["pairs"]) == (3, 2, 1)


def test_markdown_and_json_hold_how_it_was_made_and_what_was_not_read() -> None:
    report = Report({"corpus_digest": "abc"}, [score("a", TOP1, x=[0.5])], [("a", "k7", "is truncated")])
    page = report.markdown()
    assert "| a | val | native | top1, score >= 0.1 | 7 | 1 | 0.5000 | 0.2500 | 0.5000 | 0.2500 |" in page
    assert "| 0.2500 | - | - |" in page  # no class was absent
    assert "- corpus digest: abc" in page
    assert "- a/k7: is truncated" in page
    facts = json.loads(json.dumps(report.facts()))
    assert facts["made"] == {"corpus_digest": "abc"}
    assert facts["unreadable"] == [{"dataset": "a", "sample": "k7", "reason": "is truncated"}]
