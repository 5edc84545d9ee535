"""Checkpoints are complete or absent, hold no pickle, and do not grow without end."""

import json
import pickletools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from medshards.train.run import checkpoint
from medshards.train.run.checkpoint import (
    Checkpointer,
    CheckpointError,
    State,
    best,
    find,
    folder_of,
    load_model,
    restore,
    steps,
)
from medshards.train.run.config import Config, load_config
from medshards.train.run.parallel import world
from medshards.train.run.step import Learner, build_graph


def state(
    step: int, score: float | None = None, config: Config | None = None, architecture: dict | None = None
) -> State:
    content = config.model_dump(mode="json") if config else {}
    return State(step, 0, step, "digest", content, architecture or {}, 42, score=score)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def trained(config: Config, ranks: object) -> Learner:
    """A model whose optimiser has moments."""
    learner = Learner(build_graph(config), config, ranks)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    for parameter in learner.graph.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    learner.optimizer.step()
    return learner


def architecture(learner: Learner) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(learner.graph.config.to_dict()))
    return content


def test_what_is_saved_comes_back(run: Path) -> None:
    config = load_config("tiny")
    with world() as ranks:
        learner = trained(config, ranks)
        saved = state(7, 0.5, config, architecture(learner))
        Checkpointer(run, ranks, 2, True).save(learner.model, learner.optimizer, saved)
        other = Learner(
            build_graph(config.model_copy(update={"run": config.run.model_copy(update={"seed": 1})})),
            config,
            ranks,
        )
        assert restore(find(run), other.model, other.optimizer) == saved
    for one, two in zip(learner.graph.parameters(), other.graph.parameters()):
        assert torch.equal(one, two)
        if one.requires_grad:
            mine, theirs = learner.optimizer.state[one], other.optimizer.state[two]
            assert torch.equal(mine["exp_avg"], theirs["exp_avg"])
            assert torch.equal(mine["exp_avg_sq"], theirs["exp_avg_sq"])
            assert float(theirs["step"]) == 7
    model, loaded = load_model(run)
    assert loaded == config
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), learner.graph.state_dict().values())
    )


def test_no_file_is_a_pickle(run: Path) -> None:
    config = load_config("tiny")
    with world() as ranks:
        learner = trained(config, ranks)
        Checkpointer(run, ranks, 2, True).save(learner.model, learner.optimizer, state(1))
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    for path in files:
        with pytest.raises(ValueError):
            list(pickletools.genops(path.read_bytes()[:4096]))


@pytest.fixture
def fake(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Saving writes one small file, so that many checkpoints can be made."""

    def write(tensors: object, storage_writer: checkpoint.HuggingFaceStorageWriter) -> None:
        Path(storage_writer.path).mkdir(parents=True)
        (Path(storage_writer.path) / "shard-00001.safetensors").write_text("x")

    monkeypatch.setattr(checkpoint.dcp, "save", write)
    monkeypatch.setattr(checkpoint, "_tensors", lambda model, optimizer: {})
    return run


def test_the_last_and_the_best_are_kept(fake: Path) -> None:
    scores = {1: 0.2, 2: 0.9, 3: None, 4: 0.4, 5: 0.9, 6: None}
    with world() as ranks:
        saver = Checkpointer(fake, ranks, 2, True)
        for step, score in scores.items():
            saver.save(None, None, state(step, score))  # type: ignore[arg-type]
    assert steps(fake) == [2, 5, 6]
    assert best(fake) == (2, 0.9)  # the first of equals
    assert find(fake) == find(fake / "checkpoints") == folder_of(fake, 2)
    assert find(folder_of(fake, 6)) == folder_of(fake, 6)


def test_without_a_validation_the_newest_is_found(fake: Path) -> None:
    with world() as ranks:
        saver = Checkpointer(fake, ranks, 3, True)
        for step in (1, 2):
            saver.save(None, None, state(step))  # type: ignore[arg-type]
    assert best(fake) is None
    assert find(fake) == folder_of(fake, 2)


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_a_save_that_is_cut_short_leaves_the_old_checkpoints(
    moment: str, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world() as ranks:
        saver = Checkpointer(fake, ranks, 1, True)
        saver.save(None, None, state(1))  # type: ignore[arg-type]

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(*{"write": (checkpoint, "_sync"), "rename": (Path, "rename")}[moment], die)
            with pytest.raises(KeyboardInterrupt):
                saver.save(None, None, state(2))  # type: ignore[arg-type]
        assert steps(fake) == [1]
        assert any(path.name.startswith(".") for path in (fake / "checkpoints").iterdir())
        again = Checkpointer(fake, ranks, 1, True)  # the next start of the run
        assert [path.name for path in (fake / "checkpoints").iterdir()] == ["step-00000001"]
        again.save(None, None, state(2))  # type: ignore[arg-type]
        assert steps(fake) == [2]


def test_what_is_no_checkpoint_is_said_plainly(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*expected checkpoints/step-\*/state\.json"):
        load_model(run)
    folder = folder_of(run, 3)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"version": 99}')
    with pytest.raises(CheckpointError, match="has version 99, this medshards reads 1"):
        load_model(run)
    (folder / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state\.json cannot be read"):
        load_model(run)


def test_a_checkpoint_of_another_model_is_refused(run: Path) -> None:
    config = load_config("tiny")
    with world() as ranks:
        learner = trained(config, ranks)
        Checkpointer(run, ranks, 2, True).save(
            learner.model, learner.optimizer, state(1, None, config, architecture(learner))
        )
    path = folder_of(run, 1) / "state.json"
    content = json.loads(path.read_text())
    content["architecture"]["detr_decoder_config"]["num_queries"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="cannot be loaded into this model"):
        load_model(run)
    shutil.copytree(folder_of(run, 1), run / "copy")
    next((run / "copy").glob("*.safetensors")).write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(run / "copy")
