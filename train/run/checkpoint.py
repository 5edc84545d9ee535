"""Checkpoints: complete or absent, readable on any number of ranks, without a pickle in them.

    RUN/checkpoints/step-00000120/
      shard-*.safetensors     what is trained (the weights, or adapters alone) and both moments of AdamW, each
                              rank's part in its own file
      state.json              step, epoch and position of the data, corpus, configuration, architecture, score;
                              the SHA-256 of the other files, and of itself without this field

torch.distributed.checkpoint writes under a temporary name; when all ranks are done and the bytes are on the disk, the
folder is renamed. The optimiser's step, the learning rates and all random numbers are functions of the step and the
configuration, so these need no place of their own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from transformers import Sam3Config
from transformers.initialization import no_init_weights

from medshards.common.files import sha256_file
from medshards.train.data.order import ORDER_VERSION
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.lora import add_lora, is_adapter, merge
from medshards.train.model.lora import digest as digest_of_weights
from medshards.train.model.weights import build_model
from medshards.train.run.config import Config
from medshards.train.run.parallel import unwrap

FOLDER, STATE = "checkpoints", "state.json"
DAMAGED = "damaged-"  # before the name of a checkpoint that was moved out of the way
VERSION = 2
MOMENTS = ("exp_avg", "exp_avg_sq")


class CheckpointError(ValueError):
    """A checkpoint is absent, damaged or not of this run; the message says which and what to do."""


@dataclass(frozen=True)
class State:
    """Where a run is; the content of state.json.

    step: updates made. epoch, position: samples of the data order taken before, in whole epochs and in the
    current one. corpus: its digest. config: resolved configuration. architecture: of `Sam3Config`. seed: of
    the random numbers, which are functions of it and the step. bad_samples: names of those found damaged. score: of
    the validation at this step, if any. files: SHA-256 of the files beside state.json. base: digest of the weights that
    adapters were trained on (train/model/lora.py), which are no part of the checkpoint. own_concepts: those of the
    corpus that the vocabulary of medshards does not hold (`Concept.facts`).
    """

    step: int
    epoch: int
    position: int
    corpus: str
    config: dict[str, Any]
    architecture: dict[str, Any]
    seed: int
    bad_samples: list[str] = field(default_factory=list)
    score: float | None = None
    world: int = 1
    order_version: int = ORDER_VERSION
    version: int = VERSION
    files: dict[str, str] = field(default_factory=dict)
    base: str | None = None
    own_concepts: list[dict[str, Any]] = field(default_factory=list)


def folder_of(run: Path, step: int) -> Path:
    """Folder of the checkpoint of a step."""
    return run / FOLDER / f"step-{step:08d}"


def steps(run: Path) -> list[int]:
    """Steps of all complete checkpoints of a run, the oldest first."""
    found = (run / FOLDER).glob(f"step-*/{STATE}")
    return sorted(int(path.parent.name[5:]) for path in found if path.parent.name[5:].isdigit())


def best(run: Path) -> tuple[int, float] | None:
    """Step and score of the checkpoint that validated best (the first of equals), None when none did.

    One whose state cannot be read is none.
    """
    known = []
    for step in steps(run):
        with suppress(CheckpointError):
            if (score := read_state(folder_of(run, step)).score) is not None:
                known.append((step, score))
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
    """state.json of a checkpoint, compared with its own digest; raises CheckpointError."""
    try:
        content = json.loads((folder / STATE).read_bytes())
        if content.get("version") != VERSION:
            raise CheckpointError(
                f"{folder} has version {content.get('version')}, this medshards reads {VERSION}"
            )
        digest = content.pop("digest", None)
        own = digest_of(content)
        state = State(**content)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: {STATE} cannot be read: {error}") from error
    if digest != own:
        raise CheckpointError(f"{folder}: {STATE} is damaged: its digest does not fit")
    return state


def check(folder: Path) -> State:
    """Read all of a checkpoint and compare it with its digests; raises CheckpointError when it is not whole."""
    state = read_state(folder)
    found = sorted(path.name for path in folder.glob("*.safetensors"))
    if found != sorted(state.files):
        raise CheckpointError(
            f"{folder} is damaged: it has {', '.join(found) or 'no weights'}, expected {', '.join(state.files)}"
        )
    for name, digest in state.files.items():
        try:
            same = sha256_file(folder / name) == digest
        except OSError as error:
            raise CheckpointError(f"{folder / name} cannot be read: {error.strerror}") from error
        if not same:
            raise CheckpointError(f"{folder / name} is damaged: its SHA-256 is not that of {STATE}")
    return state


def recover(run: Path) -> tuple[int | None, list[str]]:
    """Make the checkpoints of a run fit to go on from; returns the newest step that is whole, and what was found.

    What a killed process left half written or half removed is swept away. A damaged checkpoint is moved aside, and the
    one before it is the newest; older ones are only looked at as far as choosing the best needs it. One process may
    call this at a time.
    """
    found: list[str] = []
    for path in (run / FOLDER).glob(".step-*"):
        shutil.rmtree(path)
    for path in (run / FOLDER).glob("step-*"):
        if not (path / STATE).is_file():  # removing it had begun
            shutil.rmtree(path)
    newest: int | None = None
    for step in reversed(steps(run)):
        folder = folder_of(run, step)
        try:
            _ = check(folder) if newest is None else read_state(folder)
            newest = step if newest is None else newest
        except CheckpointError as error:
            aside = folder.with_name(DAMAGED + folder.name)
            if aside.exists():
                shutil.rmtree(aside)
            folder.rename(aside)
            found.append(f"{error}; it is now {aside.name}")
    if found and newest is not None:
        found.append(f"going on from the newest whole checkpoint, {folder_of(run, newest)}")
    return newest, found


def load_model(
    path: str | Path, device: str | torch.device = "cpu", base: str | None = None, merged: bool = True
) -> tuple[Sam3Graph, Config]:
    """The model of a run (its best checkpoint, else the newest) or of one checkpoint, ready for evaluation.

    ``path`` is a run's folder or a checkpoint's. Returns the graph in evaluation mode, fp32, on ``device``, and
    the configuration it was trained with. Needs neither the corpus nor the weights that training started from; but
    adapters need these, which may be elsewhere now (``base``), and come out in the weights if ``merged``.
    Raises CheckpointError, also for a damaged one, and WeightsError.

        model, config = load_model("RUN")
        outputs = model(**batch.inputs("cpu"))       # train.model.outputs.Outputs; see train/model/postprocess.py
    """
    folder = find(path)
    state = check(folder)
    config = Config.model_validate(state.config)
    if config.model.lora is None:
        with no_init_weights():
            model = Sam3Graph(Sam3Config.from_dict(state.architecture))
    else:
        model = _adapted(config, state, base)
    _load(dict(_weights(model)), folder, alone=True)
    if merged:
        merge(model)
    return model.eval().to(device), config


def _adapted(config: Config, state: State, base: str | None) -> Sam3Graph:
    """The model that adapters were trained on, with adapters; raises CheckpointError when it is another one."""
    options = config.model
    weights = base or options.weights
    model = build_model(weights, options.preset, image_size=options.image_size, seed=config.run.seed)
    if digest_of_weights(model) != state.base:
        raise CheckpointError(
            f"the adapters were not trained on the weights {weights}: name theirs with --base"
        )
    assert options.lora is not None
    add_lora(model, options.lora)
    return model


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Read a checkpoint into a model and its optimiser, which may be shared among other ranks than it was.

    Every rank must call this, after one has called `check`. Raises CheckpointError.
    """
    state = read_state(folder)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            at = parameter.device if group.get("fused") else "cpu"
            optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step), dtype=torch.float32, device=at),
                **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
            }
    _load(tensors_of(model, optimizer), folder)
    return state


def _weights(model: Sam3Graph) -> Iterator[tuple[str, Tensor]]:
    """All weights; of a model with adapters, the adapters."""
    state = model.state_dict()
    chosen = [name for name in state if is_adapter(name)] or list(state)
    for name in chosen:
        yield f"model.{name}", state[name]


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
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
        raise CheckpointError(f"{folder} cannot be loaded into this model: {reasons(error)}") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {error}") from error


def reasons(error: BaseException) -> str:
    """The failures of all ranks behind an error of torch's, each in one line."""
    failures = error.failures.values() if isinstance(error, CheckpointException) else [(error, None)]
    return "; ".join(dict.fromkeys(" ".join(str(failure).split()) for failure, _ in failures))


def digest_of(content: Mapping[str, Any]) -> str:
    """Digest of the content of a state.json without this field."""
    as_read = json.loads(json.dumps(content))  # whose keys are text
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
