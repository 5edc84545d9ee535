"""A run from start to end: configuration, checks before the long start, training, export."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from medshards.common.files import write_atomically
from medshards.train.data.corpus import BadSample, CorpusError
from medshards.train.model.weights import WeightsError, export_folder, export_official
from medshards.train.run.card import licence_remarks, write_card
from medshards.train.run.checkpoint import CheckpointError, best, find, folder_of, load_model, steps
from medshards.train.run.config import Config, ConfigError, load_config
from medshards.train.run.parallel import MachineError, world
from medshards.train.run.preflight import idle_gpus, problems
from medshards.train.run.trainer import CONFIG, Outcome, Trainer

FINISHED = "finished.json"
"""Written to the run's folder when its last update is made and all is exported: nothing is left to resume."""
PEOPLE = (
    ConfigError, CorpusError, CheckpointError, WeightsError, MachineError, BadSample, FloatingPointError
)  # fmt: skip
"""Errors whose message says what to do; any other is a defect and keeps its traceback."""


class Failure(Exception):
    """The run cannot start or has failed; the message is for people."""


@contextmanager
def failures(out: Path) -> Iterator[None]:
    """Turn the errors that tell people what to do into Failure."""
    try:
        yield
    except PEOPLE as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{error.filename or out}: {error.strerror or error}") from error


def run_training(
    data: str,
    out: Path,
    source: str | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    other_corpus: bool = False,
    export: Sequence[str] = (),
) -> str:
    """Train, and export the best checkpoint; returns what to tell at the end ('' on ranks but the first).

    ``source`` is a preset or file (default `paper`; when resuming, the run's own configuration). Raises
    Failure.
    """
    with failures(out):
        config = load_config(source_of(out, source, resume), overrides)
        with world() as ranks:
            found = problems(config, data, out, ranks)
            if ranks.sum(bool(found))[0]:
                raise Failure("the run was not started:\n  " + "\n  ".join(found or ["see the other ranks"]))
            if ranks.first:
                out.mkdir(parents=True, exist_ok=True)
                (out / FINISHED).unlink(missing_ok=True)
                for remark in filter(None, [idle_gpus(ranks), *licence_remarks(data, config)]):
                    click.echo(f"note: {remark}", err=True)
            ranks.barrier()
            outcome = Trainer(config, data, out, ranks, resume, other_corpus).fit()
            if not ranks.first:
                return ""
            if outcome.preempted:
                return (
                    f"ended by a signal after update {outcome.step} of {outcome.total}, saved; go on with:\n"
                    f"  medshards train --data {data} --out {out} --resume"
                )
            return _finish(config, data, out, outcome, export)


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
    if export:
        model, _ = load_model(out)
        if "hf" in export:
            folder = out / "export" / "hf"
            export_folder(model, folder)
            write_card(folder, "hf", out, data)
            lines.append(f"Hugging Face folder: {folder}")
        if "official" in export:
            weights = config.model.weights
            base = Path(weights) if weights and Path(weights).suffix in (".pt", ".pth") else None
            export_official(model, out / "export" / "sam3.pt", base)
            write_card(out / "export", "official", out, data)
            lines.append(f"official checkpoint: {out / 'export' / 'sam3.pt'}")
        lines += licence_remarks(data, config)
    done = {"step": outcome.step, "best": known and known[0], "score": known and known[1]}
    write_atomically(out / FINISHED, (json.dumps(done) + "\n").encode())
    return "\n".join(lines)
