"""Learning from random weights: on a few phantoms, and on real images by the commands of docs/learning.md."""

import json
import re
import shlex
from pathlib import Path

import pytest

from medshards.train.run.session import run_training
from tests.command import medshards

DOCS = Path(__file__).parents[3] / "docs" / "learning.md"


def test_a_tiny_model_learns_to_outline_what_it_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    """Forty updates, a few seconds: masks are learned first, scores and boxes take several times as long.

    So it is asked for what is there alone: an absent concept with a like score would contest the same pixels.
    """
    options = [
        "data.datasets=[busi]",
        "data.max_negatives_per_image=0",
        "optim.lr=2e-3",
        "run.validate_on=train",
        "run.validate_every=20",
    ]
    run_training(str(corpus), tmp_path / "run", "tiny", [*options, "run.steps=40"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    dice = [row["validation"]["top1"] for row in rows if "validation" in row]
    assert dice[-1] > 0.8
    loss = [row["loss"] for row in rows if "loss" in row]
    assert sum(loss[-2:]) < 0.85 * sum(loss[:2])


def commands(samples: Path, folder: Path) -> list[list[str]]:
    """The words of each command of docs/learning.md, with this machine's folders for those of the page."""
    block = DOCS.read_text("utf-8").split("\n## The commands\n")[1].split("\n## ")[0]
    lines = re.findall(r"^    (?:\w+=\w+ )?medshards (.*)$", block.replace("\\\n", " "), re.MULTILINE)
    places = {"/tmp/": f"{folder}/", "../shared/sources/samples": str(samples)}
    for written, here in places.items():
        lines = [line.replace(written, here) for line in lines]
    return [shlex.split(line) for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_eight_real_images_are_learned_and_what_they_cannot_show_gets_no_answer(
    samples: Path, tmp_path: Path
) -> None:
    build, train, evaluate = commands(samples, tmp_path)
    for words in (build, train):
        done = medshards(*words)
        assert done.exit_code == 0, done.output
    done = medshards(*evaluate, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    (mean,) = report["mean_of_datasets"]
    print(f"Dice {mean['dice']:.4f}, {mean['absent_empty']} of {mean['absent']} empty")
    assert (mean["aggregate"], mean["min_score"]) == ("top1", 0.1)
    assert (mean["datasets"], mean["images"], mean["absent"]) == (4, 8, 42)
    assert mean["dice"] >= 0.98
    assert mean["absent_empty"] >= 40
