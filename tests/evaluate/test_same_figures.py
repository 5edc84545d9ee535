"""Validation during training and `medshards evaluate` ask one engine: the same samples, the same figures."""

from pathlib import Path

import PIL.Image
import pytest
import torch

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.evaluate.dataset import open_datasets
from medshards.evaluate.measure import Measure, evaluate
from medshards.evaluate.segmenter import ModelSegmenter
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.train.data.open import open_data
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.weights import build_model
from medshards.train.run.config import load_config
from medshards.train.run.parallel import world
from medshards.train.run.validation import RULES, Validator
from medshards.vocab.vocabulary import Vocabulary

SIDE = 112  # of the tiny network's input: there native resolution and that of the network are one


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vessels that compete for pixels, and lesions of two kinds of which an image shows one or none."""
    folder = tmp_path_factory.mktemp("square")
    for slug in ("busi", "ravir"):
        write_phantom(slug, folder / "raw" / slug)
        for path in (folder / "raw" / slug).rglob("*.png"):
            PIL.Image.open(path).resize((SIDE, SIDE), PIL.Image.Resampling.NEAREST).save(path)
        build_dataset(load_catalog()[slug], folder / "raw" / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", Vocabulary.load().digest)
    return folder / "corpus"


@pytest.fixture(scope="module")
def model() -> Sam3Graph:
    """Random weights, but sure enough of everything that every rule gives masks, and others than the next."""
    model = build_model(preset="tiny", seed=3)
    with torch.no_grad():
        model.detr_decoder.get_parameter("presence_head.layer3.bias").fill_(9.0)
    return model


@pytest.mark.parametrize("batch", [1, 3])
def test_validation_equals_evaluation_to_the_last_digit(batch: int, square: Path, model: Sam3Graph) -> None:
    options = ["run.validate_on=train", "run.precision=fp32", "data.workers=0", f"batch.per_rank={batch}"]
    config = load_config("tiny", options)
    with world() as ranks:
        validated = Validator(open_data(config, str(square), SIDE).held_out, config, ranks)(model).datasets
    segmenter = ModelSegmenter(model, batch=batch)
    report = evaluate(segmenter, open_datasets(square, split="train"), Measure(list(RULES.values())), {})
    for rule in RULES:
        assert 0 < validated["ravir"][rule] < 1
    for scored, summaries in report.scores.items():
        for own in summaries:
            found = validated[own["dataset"]]
            assert own["pairs"] > 2
            assert found[scored.aggregate] == own["dice"]
            if scored.aggregate == "union" and own["absent"]:
                assert found["absent"] == own["absent_empty"] / own["absent"]
