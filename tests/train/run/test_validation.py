"""What a validation measures: concepts that are not there too, and damaged images not at all."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medshards.shards.read.corpus import Corpus
from medshards.train.data.open import open_data
from medshards.train.model.outputs import Outputs
from medshards.train.run.checkpoint import steps
from medshards.train.run.config import load_config
from medshards.train.run.parallel import world
from medshards.train.run.validation import Report, Validator
from tests.train import processes
from tests.train.run.test_trainer import arguments, command

SIDE = 112


class Says(nn.Module):
    """A model that is sure of each prompt that its concept is there, by one query of three, or that it is not; and
    draws the left half."""

    def __init__(self, present: bool) -> None:
        super().__init__()
        self.logit = 8.0 if present else -8.0

    def forward(self, pixel_values: Tensor, img_id: Tensor, **_: Tensor) -> Outputs:
        prompts, side = len(img_id), SIDE // 4
        drawn = torch.full((prompts, 3, side, side), -9.0)
        drawn[:, :, :, : side // 2] = 9
        logits = torch.full((1, prompts, 3), -8.0)
        logits[:, :, 1] = self.logit
        return Outputs(
            logits=logits,
            boxes=torch.rand(1, prompts, 3, 4),
            presence=torch.full((1, prompts), self.logit),
            masks=drawn,
            semantic=drawn[:, 0],
        )


def validated(corpus: Path, present: bool, *options: str) -> Report:
    config = load_config("tiny", ["data.workers=0", "batch.per_rank=2", "run.precision=fp32", *options])
    with world() as ranks:
        held_out = open_data(config, str(corpus), SIDE).held_out
        return Validator(held_out, config, ranks)(Says(present))


def test_concepts_known_to_be_absent_count(corpus: Path) -> None:
    everything, nothing = validated(corpus, True), validated(corpus, False)
    with_absent = [slug for slug, row in everything.datasets.items() if "absent" in row]
    assert with_absent == ["busi"]  # the one dataset that names what an image lacks
    assert everything.mean("absent") == everything.mean("impossible") == 0
    assert nothing.mean("absent") == nothing.mean("impossible") == 1
    assert everything.mean("top1") == nothing.mean("top1")  # held against no threshold
    assert nothing.mean("union") == 0


@pytest.mark.parametrize("options", [[], ["data.impossible=false", "data.max_negatives_per_image=0"]])
def test_every_dataset_is_asked_for_what_its_pictures_cannot_show(corpus: Path, options: list[str]) -> None:
    asked = validated(corpus, True, *options).datasets
    assert [slug for slug, row in asked.items() if "impossible" in row] == ["busi", "drive", "ravir"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_left_out_named_and_counted(workers: int, corpus: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus, tmp_path / "copy")
    place = Corpus.open(copy, "val").rows("ravir")
    shard = copy / "ravir" / place["shard"][0].as_py()
    data = bytearray(shard.read_bytes())
    data[place["image_offset"][0].as_py() + 60] ^= 1
    shard.write_bytes(data)
    whole, damaged = validated(corpus, True), validated(copy, True, f"data.workers={workers}")
    assert (whole.left_out, damaged.left_out) == (0, 1)
    (reason,) = damaged.bad
    assert reason.startswith(f"ravir/{place['key'][0].as_py()}: its image in ravir/val/")
    assert whole.datasets["ravir"] != damaged.datasets["ravir"]
    for slug in ("busi", "drive"):
        assert whole.datasets[slug] == damaged.datasets[slug]


def test_a_dataset_whose_only_validation_image_is_damaged_ends_no_run(corpus: Path, tmp_path: Path) -> None:
    copy, run = shutil.copytree(corpus, tmp_path / "copy"), tmp_path / "run"
    place = Corpus.open(copy, "val").rows("drive")
    assert len(place) == 1
    shard = copy / "drive" / place["shard"][0].as_py()
    data = bytearray(shard.read_bytes())
    data[place["image_offset"][0].as_py() + 60] ^= 1
    shard.write_bytes(data)
    options = ["run.validate_every=2", "run.checkpoint_every=1000", "run.keep_last=9", "run.log_every=1"]
    words = ["batch.images=2", "batch.per_rank=2", "data.workers=0", *options]
    assert processes.run(1, command, arguments(copy, run, "--steps", "3", options=words)) == [0]
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    validations = [row for row in rows if "validation" in row]
    assert [(row["step"], row["left_out"]) for row in validations] == [(2, 1), (3, 1)]
    assert all(row["datasets"]["drive"] == {} for row in validations)
    assert any(
        "left out of the validation, a bad sample: drive/21_training" in row.get("note", "") for row in rows
    )
    assert steps(run) == [2, 3]  # the first validation is the best so far, so its checkpoint is saved at once
