"""A run can be killed and goes on as if it had not been; ranks and accumulation change nothing."""

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from medshards.shards.read.corpus import Corpus
from medshards.train.cli import train
from medshards.train.data.open import open_data
from medshards.train.run.checkpoint import best, folder_of, load_model, read_state, steps
from medshards.train.run.config import load_config
from tests.train import processes
from tests.train.conftest import build_corpus

FAST = [
    "run.log_every=1", "run.record_samples=true", "run.validate_every=1000", "run.checkpoint_every=4",
    "run.overlays=0", "batch.images=4", "batch.per_rank=2", "model.regularisation.dropout=0.1",
]  # fmt: skip


def arguments(corpus: Path, run: Path, *more: str, options: list[str] = FAST) -> list[str]:
    chosen = [word for option in options for word in ("--set", option)]
    return ["--data", str(corpus), "--out", str(run), "--config", "tiny", *chosen, *more]


def command(args: list[str]) -> None:
    train.main(args, prog_name="medshards train")


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in rows(run) if "loss" in row}


def seen(run: Path) -> dict[int, list[str]]:
    """The samples of every update, in the order of the global batch; those of a repeated update count once."""
    parts: dict[int, dict[int, list[list[str]]]] = {}
    for path in run.glob("samples-rank*.jsonl"):
        rank = int(path.stem[len("samples-rank") :])
        for row in map(json.loads, path.read_text().splitlines()):
            parts.setdefault(row["step"], {})[rank] = row["samples"]
    return {
        step: [name for chunk in zip(*(ranks[r] for r in sorted(ranks))) for part in chunk for name in part]
        for step, ranks in parts.items()
    }


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 12 updates on one rank."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert processes.run(1, command, arguments(corpus, run, "--steps", "12")) == [0]
    return run


def test_a_run_learns_and_leaves_what_it_should(whole: Path, corpus: Path) -> None:
    values = losses(whole)
    assert list(values) == list(range(1, 13))
    assert sum(list(values.values())[-3:]) < 0.8 * sum(list(values.values())[:3])
    assert steps(whole) == [8, 12]
    state = read_state(folder_of(whole, 12))
    length = 18
    assert (state.step, state.epoch, state.position) == (12, 48 // length, 48 % length)
    assert state.corpus == Corpus.open(corpus).digest
    config = load_config(whole / "config.yaml")
    assert state.config == config.model_dump(mode="json")
    assert list((whole / "tensorboard").iterdir())
    terms = rows(whole)[0]["terms"]
    assert {"ce", "l1", "giou", "mask", "dice", "presence", "semantic_dice", "ce_aux_0_o2m"} <= terms.keys()
    speed = {"images_per_s", "s_per_step", "data_wait"}
    assert {"grad_norm", "epoch", "lr/decoder", *speed} <= rows(whole)[0].keys()
    assert rows(whole)[0]["images_per_s"] * rows(whole)[0]["s_per_step"] == pytest.approx(4)
    assert "mfu" not in rows(whole)[0]  # nobody knows the peak of this CPU
    validation = rows(whole)[-1]
    assert validation["datasets"].keys() == {"busi", "drive", "ravir"}
    assert best(whole) == (12, pytest.approx(validation["validation"]["top1"]))


def test_each_sample_comes_once_an_epoch(whole: Path, corpus: Path) -> None:
    sequence = [name for step in range(12) for name in seen(whole)[step]]
    opened = Corpus.open(corpus)
    names = {opened.name(sample) for sample in range(len(opened))}
    assert len(names) == 18
    assert set(sequence[:18]) == set(sequence[18:36]) == names
    assert sequence[:18] != sequence[18:36]


def test_the_model_can_be_loaded_for_evaluation(whole: Path, corpus: Path) -> None:
    model, config = load_model(whole)
    assert not model.training
    assert all(p.dtype == torch.float32 for p in model.parameters())
    data = open_data(config, str(corpus), model.image_size)
    from medshards.train.data.feed import Feed
    from medshards.train.data.plan import Request

    (batch,) = Feed(data.held_out, [[Request(0, 0), Request(0, 1)]])
    with torch.no_grad():
        outputs = model(**batch.inputs("cpu"))
    assert outputs.masks is not None
    assert outputs.masks.shape[0] == len(batch.prompts)


@pytest.mark.parametrize(
    "sign",
    [signal.SIGKILL, *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGTERM, signal.SIGUSR1))],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    sign: signal.Signals, whole: Path, corpus: Path, tmp_path: Path
) -> None:
    run, at = tmp_path / "run", random.randint(5, 10)
    options = [*FAST, "data.workers=1"]
    (process,) = processes.start(1, command, arguments(corpus, run, "--steps", "12", options=options))
    wait_for_step(run, at)
    assert process.pid is not None
    os.kill(process.pid, sign)
    process.join(processes.PATIENCE)
    saved = steps(run)
    if sign == signal.SIGKILL:
        assert process.exitcode == -signal.SIGKILL
        assert saved[-1] in (4, 8)
    else:
        assert process.exitcode == 0
        assert saved[-1] >= at
        assert max(losses(run)) == saved[-1]
    resume = ["--data", str(corpus), "--out", str(run), "--resume"]
    assert processes.run(1, command, resume) == [0]
    assert losses(run) == losses(whole)  # to the last bit
    assert seen(run) == seen(whole)
    assert steps(run)[-1] == 12


def wait_for_step(run: Path, step: int) -> None:
    """Wait until a run has logged the update."""
    log = run / "log.jsonl"
    processes.wait_until(lambda: log.is_file() and f'"step": {step},' in log.read_text(), f"update {step}")


# each rank draws its own dropout; saved where it stops
SURE = [*FAST, "model.regularisation.dropout=0.0", "run.checkpoint_every=1000"]


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six updates on one rank, without dropout."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert processes.run(1, command, arguments(corpus, run, "--steps", "6", options=SURE)) == [0]
    return run


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_ranks_change_nothing_but_rounding(
    parallel: str, alone: Path, whole: Path, corpus: Path, tmp_path: Path
) -> None:
    """Two ranks, stopped on one of them by a signal; then one rank; then two again."""
    run, options = tmp_path / "run", [*SURE, f"run.parallel={parallel}"]
    ranks = processes.start(2, command, arguments(corpus, run, "--steps", "6", options=options))
    wait_for_step(run, 2)
    assert ranks[1].pid is not None
    os.kill(ranks[1].pid, signal.SIGTERM)  # one rank is told, both stop after the same update
    for process in ranks:
        process.join(processes.PATIENCE)
    assert [process.exitcode for process in ranks] == [0, 0]
    stopped = steps(run)[-1]
    assert stopped in (2, 3, 4)
    one = ["--data", str(corpus), "--out", str(run), "--resume", "--steps"]
    assert processes.run(1, command, [*one, str(stopped + 1)]) == [0]
    assert processes.run(2, command, [*one, "6"]) == [0, 0]

    assert seen(run) == seen(alone)
    assert seen(run) == {step: names for step, names in seen(whole).items() if step < 6}
    found, expected = losses(run), losses(alone)
    assert found.keys() == expected.keys() == set(range(1, 7))
    for step in range(1, 7):  # FSDP rounds the norm of the gradient otherwise, and updates feed that back
        close = 1e-5 if parallel == "ddp" or step < 4 else 1e-2
        assert found[step] == pytest.approx(expected[step], rel=close)


def test_another_corpus_is_refused_unless_told(whole: Path, tmp_path: Path) -> None:
    import shutil

    other = build_corpus(tmp_path, ("drive",))
    run = shutil.copytree(whole, tmp_path / "run")
    resume = ["--data", str(other), "--out", str(run), "--resume", "--steps", "13"]
    assert processes.run(1, command, resume) == [1]
    assert steps(run) == [8, 12]
    assert processes.run(1, command, [*resume, "--other-corpus"]) == [0]
    assert steps(run) == [12, 13]


def test_a_run_is_not_overwritten(whole: Path, corpus: Path) -> None:
    assert processes.run(1, command, arguments(corpus, whole, "--steps", "3")) == [1]
    assert steps(whole) == [8, 12]


def test_weights_and_instances_of_datasets_are_named_or_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.weights names kvasir"):
        open_data(load_config("tiny", ["data.weights={kvasir: 2}"]), str(corpus), 112)
    data = open_data(load_config("tiny", ["data.weights={drive: 2}"]), str(corpus), 112)
    assert data.plan.length == 18 + 5


def test_too_many_bad_samples_end_the_run(corpus: Path, tmp_path: Path) -> None:
    import shutil

    broken = shutil.copytree(corpus, tmp_path / "corpus")
    opened = Corpus.open(broken)
    shard = broken / "drive/train/drive-train-000000.tar"
    data = bytearray(shard.read_bytes())
    for row in (1, 2, 3):
        data[opened.rows("drive")["image_offset"][row].as_py() + 60] ^= 1
    shard.write_bytes(data)
    few = [*FAST, "data.max_bad_samples=2"]
    assert processes.run(1, command, arguments(broken, tmp_path / "few", "--steps", "5", options=few)) == [1]
    many = [*FAST, "data.max_bad_samples=9"]
    assert processes.run(1, command, arguments(broken, tmp_path / "many", "--steps", "5", options=many)) == [
        0
    ]
    notes = [row["note"] for row in rows(tmp_path / "many") if "note" in row]
    assert sum("replaced a bad sample: drive/2" in note for note in notes) >= 3
    assert len(read_state(folder_of(tmp_path / "many", 5)).bad_samples) == 3  # each once, though met twice


def test_the_log_survives_a_resume_without_doubles(tmp_path: Path) -> None:
    from medshards.train.run.monitor import _truncate

    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"note": "x"}\n{"step": 2}\n{"step": 3}\n{"st')
    _truncate(log, 2)
    assert log.read_text() == '{"step": 1}\n{"note": "x"}\n{"step": 2}\n'
