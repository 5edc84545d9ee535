"""Checkpoints: complete or absent, readable on any number of ranks, without a pickle in them.

    RUN/checkpoints/step-00000120/
      shard-*.safetensors     weights and both moments of AdamW, each rank's part in its own file
      state.json              step, epoch and position of the data, corpus, configuration, architecture, score

torch.distributed.checkpoint writes under a temporary name; when all ranks are done the folder is renamed. The
optimiser's step, the learning rates and all random numbers are functions of the step and the configuration,
so these need no place of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from transformers import Sam3Config
from transformers.initialization import no_init_weights

from medshards.train.data.plan import ORDER_VERSION
from medshards.train.model.graph import Sam3Graph
from medshards.train.run.config import Config
from medshards.train.run.parallel import World, unwrap

FOLDER, STATE = "checkpoints", "state.json"
VERSION = 1
MOMENTS = ("exp_avg", "exp_avg_sq")


class CheckpointError(ValueError):
    """A checkpoint is absent, damaged or not of this run; the message says which and what to do."""


@dataclass(frozen=True)
class State:
    """Where a run is; the content of state.json.

    step: updates made. epoch, position: samples of the data order taken before, in whole epochs and in the
    current one. corpus: its digest. config: resolved configuration. architecture: of `Sam3Config`. seed: of
    the random numbers, which are functions of it and the step. score: of the validation at this step, if any.
    """

    step: int
    epoch: int
    position: int
    corpus: str
    config: dict[str, Any]
    architecture: dict[str, Any]
    seed: int
    bad_samples: int = 0
    score: float | None = None
    world: int = 1
    order_version: int = ORDER_VERSION
    version: int = VERSION


def folder_of(run: Path, step: int) -> Path:
    """Folder of the checkpoint of a step."""
    return run / FOLDER / f"step-{step:08d}"


def steps(run: Path) -> list[int]:
    """Steps of all complete checkpoints of a run, the oldest first."""
    found = (run / FOLDER).glob(f"step-*/{STATE}")
    return sorted(int(path.parent.name[5:]) for path in found if path.parent.name[5:].isdigit())


def best(run: Path) -> tuple[int, float] | None:
    """Step and score of the checkpoint that validated best (the first of equals), None when none did."""
    scores = [(step, read_state(folder_of(run, step)).score) for step in steps(run)]
    known = [(step, score) for step, score in scores if score is not None]
    return max(known, key=lambda pair: pair[1], default=None)


def find(path: str | Path) -> Path:
    """The folder of a checkpoint: a checkpoint itself, or of a run the best, else the newest.

    Raises CheckpointError.
    """
    path = Path(path)
    if (path / STATE).is_file():
        return path
    run = path.parent if path.name == FOLDER else path
    if saved := steps(run):
        chosen = best(run)
        return folder_of(run, chosen[0] if chosen else saved[-1])
    raise CheckpointError(
        f"no checkpoint in {path}: expected {FOLDER}/step-*/{STATE}, as `medshards train` writes it"
    )


def read_state(folder: Path) -> State:
    """state.json of a checkpoint; raises CheckpointError."""
    try:
        content = json.loads((folder / STATE).read_text())
        if content.get("version") != VERSION:
            raise CheckpointError(
                f"{folder} has version {content.get('version')}, this medshards reads {VERSION}"
            )
        return State(**content)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: {STATE} cannot be read: {error}") from error


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[Sam3Graph, Config]:
    """The model of a run (its best checkpoint, else the newest) or of one checkpoint, ready for evaluation.

    ``path`` is a run's folder or a checkpoint's. Returns the graph in evaluation mode, fp32, on ``device``, and
    the configuration it was trained with. Needs neither the corpus nor the weights that training started from.
    Raises CheckpointError.

        model, config = load_model("RUN")
        outputs = model(**batch.inputs("cpu"))       # train.structures.Outputs; see train/model/postprocess.py
    """
    folder = find(path)
    state = read_state(folder)
    with no_init_weights():
        model = Sam3Graph(Sam3Config.from_dict(state.architecture))
    _load(dict(_weights(model)), folder, alone=True)
    return model.eval().to(device), Config.model_validate(state.config)


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Read a checkpoint into a model and its optimiser, which may be shared among other ranks than it was.

    Every rank must call this. Raises CheckpointError.
    """
    state = read_state(folder)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            at = parameter.device if group.get("fused") else "cpu"
            optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step), dtype=torch.float32, device=at),
                **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
            }
    _load(_tensors(model, optimizer), folder)
    return state


class Checkpointer:
    """Saves the checkpoints of one run and removes old ones; every rank makes the same calls."""

    def __init__(self, run: Path, ranks: World, keep_last: int, asynchronous: bool) -> None:
        self.run, self.ranks, self.keep_last = run, ranks, keep_last
        # On a CPU the weights that a background thread reads would change under its hands.
        self.asynchronous = asynchronous and ranks.device.type == "cuda"
        self._group = dist.new_group(backend="gloo") if self.asynchronous else None
        self._pending: tuple[Any, State] | None = None
        (run / FOLDER).mkdir(parents=True, exist_ok=True)
        if ranks.first:
            for leftover in (run / FOLDER).glob(".step-*"):
                shutil.rmtree(leftover)
        ranks.barrier()

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
        """Save now, or begin to and go on training."""
        self.finish()
        tensors = _tensors(model, optimizer)
        writer = HuggingFaceStorageWriter(str(self._temporary(state)), save_distributed=True)
        if self.asynchronous:
            future = dcp.async_save(tensors, storage_writer=writer, process_group=self._group)
            self._pending = (future, state)
        else:
            dcp.save(tensors, storage_writer=writer)
            self._publish(state)

    def poll(self) -> None:
        """Publish what was saved in the background, if it is done; call once an update."""
        if self._pending is not None and self._pending[0].done():
            self.finish()

    def finish(self) -> None:
        """Wait until the last save is published."""
        if self._pending is not None:
            future, state = self._pending
            self._pending = None
            future.result()
            self._publish(state)

    def _temporary(self, state: State) -> Path:
        return self.run / FOLDER / f".{folder_of(self.run, state.step).name}"

    def _publish(self, state: State) -> None:
        if not self.ranks.first:
            return
        temporary, final = self._temporary(state), folder_of(self.run, state.step)
        (temporary / STATE).write_text(json.dumps(asdict(state), indent=1, sort_keys=True) + "\n")
        _sync(temporary)
        temporary.rename(final)
        _sync(final.parent)
        self._prune()

    def _prune(self) -> None:
        known = best(self.run)
        kept = {*steps(self.run)[-self.keep_last :], *([known[0]] if known else [])}
        for step in steps(self.run):
            if step not in kept:
                folder = folder_of(self.run, step)
                (folder / STATE).unlink()  # from here on it is no checkpoint
                shutil.rmtree(folder)


def _weights(model: Sam3Graph) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.state_dict().items():
        yield f"model.{name}", tensor


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name; those that FSDP shares, as this rank's part."""
    moments = {
        f"optimizer.{moment}.{name}": optimizer.state[parameter][moment]
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
        for moment in MOMENTS
    }
    return {**dict(_weights(unwrap(model))), **moments}


def _load(tensors: Mapping[str, Tensor], folder: Path, alone: bool = False) -> None:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=alone)
    except CheckpointException as error:  # the failures of all ranks
        reasons = dict.fromkeys(str(failure) for failure, _ in error.failures.values())
        raise CheckpointError(f"{folder} cannot be loaded into this model: {'; '.join(reasons)}") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {error}") from error


def _sync(folder: Path) -> None:
    """Force a folder and the files in it to the disk."""
    for path in (*(p for p in folder.iterdir() if p.is_file()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
