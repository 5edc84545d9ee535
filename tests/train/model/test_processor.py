"""An export is loaded by plain `transformers`, which then prepares texts and answers prompts as we do.

Images are prepared here as `Sam3ImageProcessor` says it does, for that class needs torchvision, which is not installed
beside a CPU build of torch. `Sam3Model` pools features below each box with torchvision, too: of the box that counts for
nothing they are masked out, so any numbers serve.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, Sam3Config, Sam3Model
from transformers.models.sam3 import modeling_sam3

from medshards.evaluate.segmenter import ModelSegmenter
from medshards.train.data.tokenizer import tokenize
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.processor import write_processor
from medshards.train.model.weights import build_model, export_folder
from medshards.vocab.vocabulary import Vocabulary

TEXTS = ("polyp", "benign breast lesion", "a  Left KIDNEY's upper pole, 2.5 cm")


@pytest.fixture(scope="module")
def model() -> Sam3Graph:
    return build_model(preset="tiny", seed=2).eval()


@pytest.fixture(scope="module")
def export(model: Sam3Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export_folder(model, folder)
    write_processor(model, folder)
    return folder


def test_the_tokenizer_gives_the_official_tokens_of_every_prompt(export: Path) -> None:
    """Those of the reference cases, and ours of all names of the vocabulary."""
    tokenizer = AutoTokenizer.from_pretrained(export)
    assert len(tokenizer) == 49408
    golden = json.loads((Path(__file__).parents[2] / "golden/tokenizer/clip_bpe_32.json").read_text())[
        "cases"
    ]
    known = {case["text"]: case["ids"][: case["n_valid"]] for case in golden}
    names = [name for concept in Vocabulary.load() for name in concept.names]
    ids, mask = tokenize(names)
    known |= {name: own[there].tolist() for name, own, there in zip(names, ids, mask, strict=True)}
    found = tokenizer(list(known), truncation=True)["input_ids"]
    assert len(known) > 200
    assert dict(zip(known, found, strict=True)) == known


def test_plain_transformers_answers_as_we_do(
    export: Path, model: Sam3Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads((export / "processor_config.json").read_text())["image_processor"]
    image = np.random.default_rng(0).integers(0, 255, (150, 90, 3), dtype=np.uint8)
    size = (content["size"]["height"], content["size"]["width"])
    resized = F.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True
    )
    mean, std = (torch.tensor(content[name])[:, None, None] for name in ("image_mean", "image_std"))
    pixels = (resized.float() * content["rescale_factor"] - mean) / std

    pooled = SimpleNamespace(
        roi_align=lambda features, boxes, side: torch.rand(len(boxes), features.shape[1], side, side)
    )
    monkeypatch.setattr(modeling_sam3, "torchvision", SimpleNamespace(ops=pooled), raising=False)
    plain = Sam3Model.from_pretrained(export).eval()
    assert isinstance(plain.config, Sam3Config)
    tokens = AutoTokenizer.from_pretrained(export)
    for text in TEXTS:
        inputs = tokens([text], padding="max_length", truncation=True, return_tensors="pt")
        box, label = torch.full((1, 1, 4), 0.5), torch.full((1, 1), -10)
        with torch.no_grad():
            found = plain(pixel_values=pixels, **inputs, input_boxes=box, input_boxes_labels=label)
            without = plain(pixel_values=pixels, **inputs)
        ours = ModelSegmenter(model).outputs([(image, [text])])
        assert ours.masks is not None
        assert ours.semantic is not None
        for theirs, own in (
            (found.pred_logits, ours.logits[-1]),
            (found.presence_logits.flatten(), ours.presence[-1]),
            (found.pred_masks, ours.masks),
            (found.semantic_seg.squeeze(1), ours.semantic),
        ):
            torch.testing.assert_close(theirs, own, rtol=1e-5, atol=1e-5)
        assert (
            without.pred_masks - ours.masks
        ).abs().max() > 1e-2  # the box that counts for nothing is needed
