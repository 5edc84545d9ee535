"""A run from start to end: configuration, checks before the long start, training, export."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch._dynamo.exc import BackendCompilerFailed

from medshards.common.console import tell
from medshards.common.files import locked, write_atomically
from medshards.common.machine import MachineError
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.storage import StoreError
from medshards.train.data.feed import WorkerLost
from medshards.train.memory.cards import smallest
from medshards.train.memory.choose import changed, choose, told
from medshards.train.model.lora import export_adapter
from medshards.train.model.processor import write_processor
from medshards.train.model.weights import WeightsError, export_folder, export_official
from medshards.train.run.card import licence_remarks, write_card
from medshards.train.run.checkpoint import (
    CheckpointError,
    best,
    find,
    folder_of,
    load_model,
    read_state,
    recover,
    steps,
)
from medshards.train.run.config import Config, ConfigError, load_config
from medshards.train.run.parallel import World, world
from medshards.train.run.preflight import idle_gpus, problems, waiting_workers
from medshards.train.run.trainer import CONFIG, Outcome, Trainer

FINISHED = "finished.json"
"""Written to the run's folder when its last update is made and all is exported: nothing is left to resume."""
LOCK, PATIENCE = ".lock", 10  # s: so long the data workers of a run that was killed can keep its lock
PEOPLE = (ConfigError, CorpusError, CheckpointError, WeightsError, FloatingPointError)
"""Errors whose message says what to do; any other is a defect and keeps its traceback."""
MACHINE = (MachineError, StoreError, WorkerLost)
"""The same, of what is no fault of the run: it can go on when that is mended."""
LOST = ("Connection closed by peer", "Connection reset by peer")  # what gloo says in a backward pass
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


class Failure(Exception):
    """The run cannot start or has failed; the message is for people."""


@contextmanager
def failures(out: Path) -> Iterator[None]:
    """Turn the errors that tell people what to do into Failure."""
    try:
        yield
    except PEOPLE as error:
        raise Failure(str(error)) from error
    except MACHINE as error:
        raise Failure(f"{error}{_way_back(out)}") from error
    except torch.OutOfMemoryError as error:
        raise Failure(
            "the memory of the device ran out: lower batch.per_rank, or set model.checkpoint_activations=all "
            "(`medshards train --plan` says what that takes)" + _way_back(out)
        ) from error
    except BackendCompilerFailed as error:
        raise Failure(
            f"compiling the model failed ({' '.join(str(error).split())[:300]}): --set model.compile=off trains without"
            + _way_back(out)
        ) from error
    except MemoryError as error:
        raise Failure(f"memory ran out: lower data.workers or data.prefetch{_way_back(out)}") from error
    except OSError as error:
        raise Failure(f"{error.filename or out}: {error.strerror or error}") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in LOST):
            raise
        raise Failure(
            f"another rank was lost: what ended it stands in its own log{_way_back(out)}"
        ) from error


def _way_back(out: Path) -> str:
    saved = steps(out)
    return (
        f"; go on with --resume, from {folder_of(out, saved[-1])}"
        if saved
        else "; no checkpoint was saved yet"
    )


def run_training(
    data: str,
    out: Path,
    source: str | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    other_corpus: bool = False,
    export: Sequence[str] = (),
    auto_resume: bool = False,
    other_config: bool = False,
) -> str:
    """Train, and export the best checkpoint; returns what to tell at the end ('' on ranks but the first).

    ``source`` is a preset or file (default `paper`; when resuming, the run's own configuration). ``auto_resume``:
    resume when there is a checkpoint, else begin. Raises Failure.
    """
    with failures(out), ExitStack() as held:
        resume = resume or (auto_resume and bool(steps(out)))
        config = load_config(source_of(out, source, resume), overrides)
        with world() as ranks:
            if "adapter" in export and config.model.lora is None:
                raise ConfigError(
                    "--export adapter: the run trains all weights; set model.lora to train adapters"
                )
            found = problems(config, data, out, ranks)
            if ranks.sum(bool(found))[0]:
                raise Failure("the run was not started:\n  " + "\n  ".join(found or ["see the other ranks"]))
            newest = None
            if ranks.first:
                _hold(out, held)
                newest, remarks = recover(out)
                if resume and newest is None and not auto_resume:
                    raise CheckpointError("; ".join([f"{out} has no checkpoint to resume from", *remarks]))
                (out / FINISHED).unlink(missing_ok=True)
                remarks += filter(
                    None, [idle_gpus(ranks), waiting_workers(config, ranks), *licence_remarks(data, config)]
                )
                for remark in remarks:
                    tell(f"note: {remark}", err=True)
            agreed = int(ranks.sum(0 if newest is None else newest + 1)[0])  # 0: there is none
            step = agreed - 1 if resume and agreed else None
            before = None if step is None else Config.model_validate(read_state(folder_of(out, step)).config)
            divided = _divide(config, ranks, before)
            outcome = Trainer(divided, data, out, ranks, step, other_corpus, other_config, asked=config).fit()
            if not ranks.first:
                return ""
            if outcome.preempted:
                return (
                    f"ended by a signal after update {outcome.step} of {outcome.total}, saved; go on with:\n"
                    f"  medshards train --data {data} --out {out} --resume"
                )
            return _finish(config, data, out, outcome, export)


def _divide(config: Config, ranks: World, before: Config | None) -> Config:
    """Fill in what the configuration leaves to the card, and tell what that takes."""
    card = smallest(ranks)
    whole, option = choose(config, card, ranks.size, before)
    lines = [told(option, card)] if option and card else []
    if before is not None and (other := changed(before, whole)):
        lines.append(other)
    for line in lines if ranks.first else ():
        tell(f"note: {line}", err=True)
    return whole


def _hold(out: Path, held: ExitStack) -> None:
    """Make the folder of the run and hold its lock as long as ``held`` is open; raises Failure."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return held.enter_context(locked(out / LOCK, wait=False))
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise Failure(f"another process is training into {out}; choose another folder") from error
            time.sleep(0.2)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return tell(
                f"note: the file system of {out} has no locks: see to it that one run writes there", err=True
            )


def source_of(out: Path, source: str | None, resume: bool) -> str | Path:
    """The configuration to start or resume a run with; raises ConfigError when it would overwrite a run."""
    if resume and source is None:
        return out / CONFIG
    if not resume and steps(out):
        raise ConfigError(
            f"{out} holds a run with checkpoints; add --resume to go on, or choose another folder"
        )
    return source or "paper"


def _finish(config: Config, data: str, out: Path, outcome: Outcome, export: Sequence[str]) -> str:
    lines = [f"{outcome.step} updates made; newest checkpoint {folder_of(out, steps(out)[-1])}"]
    if (known := best(out)) is not None:
        lines.append(f"best checkpoint {find(out)}: {config.run.validate_mask} Dice {known[1]:.4f}")
    if "adapter" in export and config.model.lora is not None:
        model, _ = load_model(out, merged=False)
        export_adapter(model, out / "export" / "adapter", config.model.lora, config.model.weights)
        write_card(out / "export" / "adapter", "adapter", out, data)
        lines.append(f"LoRA adapters: {out / 'export' / 'adapter'}")
    if set(export) - {"adapter"}:
        model, _ = load_model(out)
        if "hf" in export:
            folder = out / "export" / "hf"
            export_folder(model, folder)
            write_processor(model, folder)
            write_card(folder, "hf", out, data)
            lines.append(f"Hugging Face folder: {folder}")
        if "official" in export:
            weights = config.model.weights
            base = Path(weights) if weights and Path(weights).suffix in (".pt", ".pth") else None
            export_official(model, out / "export" / "sam3.pt", base)
            write_card(out / "export", "official", out, data)
            lines.append(f"official checkpoint: {out / 'export' / 'sam3.pt'}")
    if export:
        lines += licence_remarks(data, config)
    done = {"step": outcome.step, "best": known and known[0], "score": known and known[1]}
    write_atomically(out / FINISHED, (json.dumps(done) + "\n").encode())
    return "\n".join(lines)
