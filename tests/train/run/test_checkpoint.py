"""Checkpoints are complete or absent, hold no pickle, and do not grow without end."""

import errno
import json
import os
import pickletools
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from medshards.train.run import save
from medshards.train.run.checkpoint import (
    CheckpointError,
    State,
    best,
    check,
    find,
    folder_of,
    load_model,
    read_state,
    recover,
    restore,
    steps,
)
from medshards.train.run.config import Config, load_config
from medshards.train.run.parallel import world
from medshards.train.run.save import Checkpointer
from medshards.train.run.step import Learner, build_graph
from tests.train.cases import rewrite_state


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
        found = restore(find(run), other.model, other.optimizer)
        assert list(found.files) == sorted(path.name for path in find(run).glob("*.safetensors"))
        assert replace(found, files={}) == saved
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

    def write(tensors: object, storage_writer: HuggingFaceStorageWriter) -> None:
        Path(storage_writer.path).mkdir(parents=True)
        (Path(storage_writer.path) / "shard-00001.safetensors").write_text("x")

    monkeypatch.setattr(dcp, "save", write)
    monkeypatch.setattr(save, "tensors_of", lambda model, optimizer: {})
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


def test_a_start_removes_what_a_killed_process_did_not_come_to(fake: Path) -> None:
    with world() as ranks:
        saver = Checkpointer(fake, ranks, 3, True)
        for step in (1, 2, 3):
            saver.save(None, None, state(step))  # type: ignore[arg-type]
        Checkpointer(fake, ranks, 2, True)
    assert steps(fake) == [2, 3]


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
            patched.setattr(*{"write": (save, "sync"), "rename": (Path, "rename")}[moment], die)
            with pytest.raises(KeyboardInterrupt):
                saver.save(None, None, state(2))  # type: ignore[arg-type]
        assert steps(fake) == [1]
        assert any(path.name.startswith(".") for path in (fake / "checkpoints").iterdir())
        assert recover(fake) == (1, [])  # the next start of the run
        again = Checkpointer(fake, ranks, 1, True)
        assert [path.name for path in (fake / "checkpoints").iterdir()] == ["step-00000001"]
        again.save(None, None, state(2))  # type: ignore[arg-type]
        assert steps(fake) == [2]


def test_what_is_no_checkpoint_is_said_plainly(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*expected checkpoints/step-\*/state\.json"):
        load_model(run)
    folder = folder_of(run, 3)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"version": 99}')
    with pytest.raises(CheckpointError, match="has version 99, this medshards reads 2"):
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

    def one_query_more(content: dict[str, Any]) -> None:
        content["architecture"]["detr_decoder_config"]["num_queries"] += 1

    rewrite_state(folder_of(run, 1), one_query_more)
    with pytest.raises(CheckpointError, match="cannot be loaded into this model"):
        load_model(run)
    shutil.copytree(folder_of(run, 1), run / "copy")
    next((run / "copy").glob("*.safetensors")).write_bytes(b"\0" * 100)
    with pytest.raises(
        CheckpointError, match=r"copy/shard.* is damaged: its SHA-256 is not that of state\.json"
    ):
        load_model(run / "copy")


def saved(run: Path, *numbers: int) -> None:
    """Checkpoints of a tiny model at these steps."""
    config = load_config("tiny")
    with world() as ranks:
        learner = trained(config, ranks)
        saver = Checkpointer(run, ranks, 9, True)
        for step in numbers:
            saver.save(
                learner.model, learner.optimizer, state(step, 0.1 * step, config, architecture(learner))
            )


def unnoticed_flips(folder: Path, flips: int) -> list[str]:
    """Flip one bit of a checkpoint so many times; the files in which that was not refused."""
    generator, files, found = random.Random(5), sorted(folder.iterdir()), []
    for _ in range(flips):
        path = generator.choice(files)
        at, bit = generator.randrange(path.stat().st_size), 1 << generator.randrange(8)
        flip(path, at, bit)
        try:
            check(folder)
            found.append(path.name)
        except CheckpointError:
            pass
        flip(path, at, bit)
    assert check(folder)
    return found


def flip(path: Path, at: int = 300, bit: int = 4) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ bit]))


def test_a_flipped_bit_is_refused(run: Path) -> None:
    saved(run, 1)
    assert unnoticed_flips(folder_of(run, 1), 12) == []


@pytest.mark.slow
def test_every_flipped_bit_is_refused(run: Path) -> None:
    saved(run, 1)
    assert unnoticed_flips(folder_of(run, 1), 200) == []


def test_a_lost_file_is_refused(run: Path) -> None:
    saved(run, 1)
    next(folder_of(run, 1).glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="is damaged: it has no weights, expected shard-"):
        check(folder_of(run, 1))


def test_a_damaged_newest_checkpoint_gives_way_to_the_newest_whole_one(run: Path) -> None:
    saved(run, 1, 2, 3)
    flip(next(folder_of(run, 3).glob("*.safetensors")))
    flip(folder_of(run, 1) / "state.json")
    step, remarks = recover(run)
    assert step == 2
    assert "is damaged: its SHA-256 is not that of state.json; it is now damaged-step-00000003" in remarks[0]
    assert "it is now damaged-step-00000001" in remarks[1]
    assert remarks[2] == f"going on from the newest whole checkpoint, {folder_of(run, 2)}"
    assert steps(run) == [2]
    assert best(run) == (2, pytest.approx(0.2))
    assert recover(run) == (2, [])


def test_what_a_killed_process_left_is_swept(fake: Path) -> None:
    with world() as ranks:
        saver = Checkpointer(fake, ranks, 5, True)
        for step in (1, 2):
            saver.save(None, None, state(step, 0.5))  # type: ignore[arg-type]
    (folder_of(fake, 1) / "state.json").unlink()  # removing it had begun
    (fake / "checkpoints/.step-00000003").mkdir()
    (fake / "checkpoints/.step-00000003/shard-1.safetensors").touch()
    assert recover(fake) == (2, [])
    assert [path.name for path in (fake / "checkpoints").iterdir()] == ["step-00000002"]
    assert recover(fake / "none") == (None, [])


def test_an_older_state_that_cannot_be_read_blocks_neither_the_best_nor_saving(fake: Path) -> None:
    with world() as ranks:
        saver = Checkpointer(fake, ranks, 2, True)
        for step in (1, 2):
            saver.save(None, None, state(step, 1 / step))  # type: ignore[arg-type]
        (folder_of(fake, 1) / "state.json").write_text("{")
        assert best(fake) == (2, 0.5)
        for step in (3, 4):
            saver.save(None, None, state(step, 0.1))  # type: ignore[arg-type]
    assert steps(fake) == [2, 3, 4]


def test_a_disk_that_is_full_is_said(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, storage_writer: HuggingFaceStorageWriter) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "shard-1.safetensors")

    monkeypatch.setattr(dcp, "save", full)
    with (
        world() as ranks,
        pytest.raises(CheckpointError, match=r"step-00000001 cannot be written.*No space left"),
    ):
        Checkpointer(fake, ranks, 2, True).save(None, None, state(1))  # type: ignore[arg-type]


def test_a_state_says_what_it_was_taken_of(run: Path) -> None:
    saved(run, 4)
    assert read_state(folder_of(run, 4)).step == 4
    content = json.loads((folder_of(run, 4) / "state.json").read_text())
    content["step"] = 5
    (folder_of(run, 4) / "state.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="its digest does not fit"):
        read_state(folder_of(run, 4))
