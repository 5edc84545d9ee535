"""A run goes on as the run that it was, or says what is other about it."""

from pathlib import Path
from typing import Any

import pytest

from medshards.train.run.checkpoint import State, folder_of, read_state, steps
from medshards.train.run.config import load_config
from medshards.train.run.continuation import differences
from medshards.train.run.step import build_graph
from tests.train import processes
from tests.train.run.test_trainer import arguments, command, losses

BEFORE = ["batch.images=4"]


@pytest.fixture(scope="module")
def architecture() -> dict[str, Any]:
    content: dict[str, Any] = build_graph(load_config("tiny")).config.to_dict()
    return content


def found(architecture: dict[str, Any], *options: str, side: int = 112, order_version: int = 1) -> list[str]:
    before = load_config("tiny", BEFORE).model_dump(mode="json")
    state = State(4, 0, 16, "corpus", before, architecture, 42, order_version=order_version)
    return differences(state, load_config("tiny", [*BEFORE, *options]), side)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("run.seed=1", "run.seed was 42, is 1"),
        ("batch.images=8", "batch.images was 4, is 8"),
        ("data.weights={drive: 2}", "data.weights was {}, is {'drive': 2.0}"),
        ("data.datasets=[drive]", "data.datasets was None, is ['drive']"),
        ("data.max_negatives_per_image=0", "data.max_negatives_per_image was 2, is 0"),
        ("data.window_gb=2", "data.window_gb was None, is 2.0"),
        ("data.impossible=false", "data.impossible was True, is False"),
        ("data.absent={drive: [polyp]}", "data.absent was {}, is {'drive': ['polyp']}"),
    ],
)
def test_what_decides_the_samples_is_compared(option: str, said: str, architecture: dict[str, Any]) -> None:
    assert found(architecture, option) == [said]


def test_size_and_order_are_compared(architecture: dict[str, Any]) -> None:
    assert found(architecture, side=56) == ["model.image_size was 112, is 56"]
    assert found(architecture, order_version=0) == ["order_version was 0, is 1"]


def test_a_checkpoint_older_than_a_field_has_its_default(architecture: dict[str, Any]) -> None:
    before = load_config("tiny", BEFORE).model_dump(mode="json")
    del before["data"]["window_gb"]
    state = State(4, 0, 16, "corpus", before, architecture, 42)
    assert differences(state, load_config("tiny", BEFORE), 112) == []
    assert differences(state, load_config("tiny", [*BEFORE, "data.window_gb=2"]), 112) != []


def test_length_rates_and_machines_are_free(architecture: dict[str, Any]) -> None:
    free = ["run.steps=99", "optim.lr=1e-5", "data.workers=9", "batch.per_rank=2", "run.checkpoint_every=3"]
    assert found(architecture, *free) == []


OPTIONS = [
    "run.log_every=1", "run.validate_every=1000", "run.checkpoint_every=2", "run.overlays=0", "batch.images=2",
    "batch.per_rank=2", "data.workers=0",
]  # fmt: skip


def test_a_damaged_newest_checkpoint_does_not_end_a_run_for_ever(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And it makes the same updates again, to the last bit; a run that would be another one is refused before."""
    run = tmp_path / "run"
    assert processes.run(1, command, arguments(corpus, run, "--steps", "4", options=OPTIONS)) == [0]
    expected = losses(run)
    again = ["--data", str(corpus), "--out", str(run), "--auto-resume"]
    assert processes.run(1, command, [*again, "--set", "run.seed=1"]) == [1]
    assert "run.seed was 42, is 1. Leave that as it was, or give --other-config" in capfd.readouterr().err

    (weights,) = folder_of(run, 4).glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1000] ^= 1
    weights.write_bytes(data)
    assert processes.run(1, command, again) == [0]
    said = " ".join(capfd.readouterr().err.split())
    assert "is damaged: its SHA-256 is not that of state.json; it is now damaged-step-00000004" in said
    assert "going on from the newest whole checkpoint" in said
    assert losses(run) == expected
    assert steps(run) == [2, 4]

    assert processes.run(1, command, [*again, "--other-config", "--set", "run.seed=1", "--steps", "5"]) == [0]
    assert read_state(folder_of(run, 5)).seed == 1
