"""From outputs to class masks: against reference numbers and a calculation in numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medshards.train.model.answers import Claim, Rule
from medshards.train.model.answers import answer as answer_of
from medshards.train.model.contest import resolve
from medshards.train.model.outputs import Outputs
from tests.train.cases import load

SIZE = (23, 17)


def answer(outputs: Outputs, prompt: int, size: tuple[int, int], rule: Rule) -> Claim:
    return answer_of(outputs, prompt, size, rule.min_score or 0.0, rule.min_score is None).claim(rule)


def outputs_of(case: dict[str, torch.Tensor]) -> Outputs:
    return Outputs(
        logits=case["pred_logits"][None],
        boxes=case["pred_boxes"][None],
        presence=case["presence"][None],
        masks=case["pred_masks"],
        semantic=case.get("semantic"),
    )


def made_up(queries: int = 6) -> dict[str, torch.Tensor]:
    """Two prompts with smooth random masks."""
    draw = torch.Generator().manual_seed(3)
    return {
        "pred_logits": torch.randn(2, queries, generator=draw) * 2,
        "pred_boxes": torch.rand(2, queries, 4, generator=draw),
        "presence": torch.tensor([1.5, -0.5]),
        "pred_masks": torch.randn(2, queries, 6, 5, generator=draw) * 3,
        "semantic": torch.randn(2, 6, 5, generator=draw) * 3,
    }


def sigmoid(x: NDArray | torch.Tensor) -> NDArray:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def enlarge(logits: NDArray, size: tuple[int, int]) -> NDArray:
    """Bilinear, pixel centres at half steps, edges repeated."""
    for axis, length in enumerate(size):
        logits = np.moveaxis(np.asarray(logits, np.float64), axis, 0)
        n = len(logits)
        at = np.clip((np.arange(length) + 0.5) * n / length - 0.5, 0, n - 1)
        low = np.minimum(np.floor(at).astype(int), n - 2)
        weight = (at - low)[:, None]
        logits = np.moveaxis(logits[low] * (1 - weight) + logits[low + 1] * weight, 0, axis)
    return logits


def test_top1_takes_the_mask_of_the_golden_query(golden: Path) -> None:
    checked = 0
    for path in sorted(golden.rglob("*.npz")):
        with np.load(path) as arrays:
            if "top_query_0" not in arrays:
                continue
        case = load(path)
        for prompt, (height, width) in enumerate(case["sizes"].tolist()):
            query = int(case[f"top_query_{prompt}"])
            bits = np.unpackbits(case[f"masks_{prompt}_packed"].numpy(), axis=1)[:, : height * width]
            expected = bits.reshape(-1, height, width)[query].astype(bool)
            score = float(case["scores"][prompt, query])
            found = answer(outputs_of(case), prompt, (height, width), Rule("top1", 0.0))
            np.testing.assert_array_equal(found.claimed, expected)
            assert not found.confidence[~expected].any()
            assert (found.confidence[expected] > 0.5 * score - 1e-6).all()
            assert answer(outputs_of(case), prompt, (height, width), Rule("top1", score - 1e-4)).claimed.any()
            assert not answer(
                outputs_of(case), prompt, (height, width), Rule("top1", score + 1e-4)
            ).claimed.any()
            checked += 1
    assert checked


@pytest.mark.parametrize("prompt", [0, 1])
@pytest.mark.parametrize("min_score", [0.0, 0.1, 0.35, 0.9])
def test_top1_in_numpy(prompt: int, min_score: float) -> None:
    case = made_up()
    score = sigmoid(case["pred_logits"][prompt]) * sigmoid(case["presence"][prompt])
    best = int(score.argmax())
    probability = sigmoid(enlarge(case["pred_masks"][prompt, best].numpy(), SIZE))
    expected = (probability > 0.5) & (score[best] >= min_score)
    found = answer(outputs_of(case), prompt, SIZE, Rule("top1", min_score))
    np.testing.assert_array_equal(found.claimed, expected)
    np.testing.assert_allclose(found.confidence, expected * probability * score[best], atol=1e-6)


@pytest.mark.parametrize("prompt", [0, 1])
@pytest.mark.parametrize("min_score", [0.0, 0.2, 0.5, 1.0])
def test_union_in_numpy(prompt: int, min_score: float) -> None:
    case = made_up()
    score = sigmoid(case["pred_logits"][prompt]) * sigmoid(case["presence"][prompt])
    expected, confidence = np.zeros(SIZE, bool), np.zeros(SIZE)
    for query, s in enumerate(score):
        if s >= min_score:
            probability = sigmoid(enlarge(case["pred_masks"][prompt, query].numpy(), SIZE))
            expected |= probability > 0.5
            confidence = np.maximum(confidence, np.where(probability > 0.5, s * probability, 0))
    found = answer(outputs_of(case), prompt, SIZE, Rule("union", min_score))
    np.testing.assert_array_equal(found.claimed, expected)
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-6)


@pytest.mark.parametrize("prompt", [0, 1])
def test_semantic_is_weighed_with_presence(prompt: int) -> None:
    case = made_up()
    weighted = sigmoid(enlarge(case["semantic"][prompt].numpy(), SIZE)) * sigmoid(case["presence"][prompt])
    found = answer(outputs_of(case), prompt, SIZE, Rule("semantic"))
    np.testing.assert_array_equal(found.claimed, weighted > 0.5)
    np.testing.assert_allclose(found.confidence, weighted * (weighted > 0.5), atol=1e-6)


def test_presence_below_one_half_leaves_the_semantic_map_empty() -> None:
    case = made_up()
    case["semantic"][:] = 20.0
    assert answer(outputs_of(case), 0, SIZE, Rule("semantic")).claimed.all()
    assert not answer(outputs_of(case), 1, SIZE, Rule("semantic")).claimed.any()


def row(*confidence: float) -> Claim:
    values = np.array([confidence], np.float32)
    return Claim(values > 0, values)


def test_contested_pixels_go_to_the_most_confident_class() -> None:
    answers = {
        "vein": row(0.9, 0.2, 0.0, 0.4),
        "artery": row(0.1, 0.3, 0.5, 0.4),
        "nerve": row(0, 0.25, 0.6, 0),
    }
    masks = resolve(answers, {})
    assert masks["vein"].tolist() == [[True, False, False, False]]
    assert masks["artery"].tolist() == [[False, True, False, True]]  # the last pixel is a draw: order of id
    assert masks["nerve"].tolist() == [[False, False, True, False]]
    labels = np.stack(list(masks.values())).sum(0)
    assert labels.max() == 1


def test_a_class_and_a_broader_one_do_not_compete() -> None:
    answers = {"optic_cup": row(0.9, 0.0, 0.3), "optic_disc": row(0.5, 0.8, 0.2), "macula": row(0, 0, 0.25)}
    masks = resolve(answers, {"optic_cup": ["optic_disc"]})
    assert masks["optic_cup"].tolist() == [[True, False, True]]
    assert masks["optic_disc"].tolist() == [[True, True, False]]  # lost to the macula, not to the cup
    assert masks["macula"].tolist() == [[False, False, False]]


def test_rules_say_what_they_are() -> None:
    assert str(Rule("top1", 0.1)) == "top1, score >= 0.1"
    assert str(Rule("semantic")) == "semantic"
    with pytest.raises(ValueError, match="min_score"):
        Rule("top1")
    with pytest.raises(ValueError, match="min_score"):
        Rule("semantic", 0.1)
