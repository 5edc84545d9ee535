"""Learning from random weights, on a few phantoms; docs/learning.md does it on real images."""

import json
from pathlib import Path

from medshards.train.run.session import run_training


def test_a_tiny_model_learns_to_outline_what_it_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    """Forty updates, a few seconds: masks are learned first, scores and boxes take several times as long."""
    options = ["data.datasets=[busi]", "optim.lr=2e-3", "run.validate_on=train", "run.validate_every=20"]
    run_training(str(corpus), tmp_path / "run", "tiny", [*options, "run.steps=40"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    dice = [row["validation"]["top1"] for row in rows if "validation" in row]
    assert dice[-1] > 0.8
    loss = [row["loss"] for row in rows if "loss" in row]
    assert sum(loss[-2:]) < 0.85 * sum(loss[:2])
