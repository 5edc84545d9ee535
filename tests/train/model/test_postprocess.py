"""From outputs to scores and masks, against the numbers of the official code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medshards.train.model.outputs import Outputs
from medshards.train.model.postprocess import THRESHOLD, normalise, scores, upsample
from tests.train.cases import load


def outputs_of(case: dict[str, torch.Tensor]) -> Outputs:
    """As if the decoder had two layers, of which the first must not matter."""
    logits, boxes, presence = case["pred_logits"], case["pred_boxes"], case["presence"]
    return Outputs(
        logits=torch.stack([-logits, logits]),
        boxes=torch.stack([boxes / 2, boxes]),
        presence=torch.stack([-presence, presence]),
        masks=case["pred_masks"],
    )


def test_golden_scores_and_masks(golden: Path) -> None:
    cases = [
        case
        for path in sorted((golden / "postprocess").glob("*.npz"))
        if "pred_masks" in (case := load(path))
    ]
    assert cases
    for case in cases:
        outputs = outputs_of(case)
        torch.testing.assert_close(scores(outputs), case["scores"], rtol=1e-5, atol=1e-7)
        for prompt, (height, width) in enumerate(case["sizes"].tolist()):
            assert int(scores(outputs)[prompt].argmax()) == int(case[f"top_query_{prompt}"])
            found = upsample(case["pred_masks"][prompt], (height, width)) > THRESHOLD
            bits = np.unpackbits(case[f"masks_{prompt}_packed"].numpy(), axis=1)[:, : height * width]
            np.testing.assert_array_equal(found.numpy(), bits.reshape(-1, height, width).astype(bool))


def test_normalise_maps_black_to_minus_one_and_white_to_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalise(images)
    expected = (images.double() / 255 - 0.5) / 0.5
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-7)
    assert images.flatten().tolist() == [0, 51, 255]


def test_normalise_refuses_floats() -> None:
    with pytest.raises(TypeError, match="uint8"):
        normalise(torch.rand(1, 3, 4, 4))
