"""Work that is killed in tests: what it starts from, what it does, and what a person may see of it meanwhile.

A kill comes before the n-th file operation below the folder of the work (opening, renaming, removing, making), in
whichever of its processes that is, or some milliseconds later, in the middle of whatever is being written.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medshards.shards.cli.build
import medshards.train.run.session  # noqa: F401 - or each fork would import it anew
from medshards.cli import cli
from medshards.common.files import sha256_file, write_atomically
from medshards.curate import phantoms

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}
SLUG = "us_nerve"

FORK = multiprocessing.get_context("fork")  # everything is imported already


@dataclass(frozen=True)
class Stage:
    """One kind of work in a folder.

    prepare: makes what it starts from. work: does it, and goes on with it. half: what is not whole of that which can
    be seen under its final name. result: what must be as after undisturbed work. kills: in the ordinary suite, and in
    the long proof (together with those of pushes and pulls, in test_hub_kills.py, these are 500). begin: the part of
    the file operations that lies before what is of interest.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path], None]
    half: Callable[[Path], list[str]]
    result: Callable[[Path], Any]
    kills: tuple[int, int]
    begin: float = 0.0


@dataclass(frozen=True)
class Kill:
    """When: before that file operation (from 1; 0: never), or so many seconds after it began."""

    operation: int = 0
    seconds: float = 0.0


def perform(stage: Stage, folder: Path, kill: Kill = Kill()) -> tuple[int, int]:
    """Do the work in a process group of its own; its exit status (negative: the signal), and its file operations."""
    counter = FORK.Value("q", 0)
    process = FORK.Process(target=_work, args=(stage.work, folder, kill, counter))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the work does not end"
    return process.exitcode, counter.get_obj().value  # its lock may have died with the work


def _work(work: Callable[[Path], None], folder: Path, kill: Kill, counter: Any) -> None:
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(log, "w", buffering=1)
    prefix = f"{folder}/"

    def count(event: str, arguments: Sequence[object]) -> None:
        if event in OPERATIONS and str(arguments[0]).startswith(prefix):
            with counter.get_lock():
                counter.value += 1
                reached = counter.value == kill.operation
            if reached and (not kill.seconds or os.fork() == 0):
                time.sleep(kill.seconds)
                os.killpg(0, signal.SIGKILL)

    sys.addaudithook(count)
    work(folder)


def _medshards(*words: str | Path) -> None:
    cli.main([*map(str, words)], prog_name="medshards", standalone_mode=False)


# ---- build and publish ----


def _build(folder: Path) -> None:
    _medshards("build", SLUG, "--raw", folder / "raw", "--out", folder / "out", "--workers", "2")


def _download(folder: Path) -> None:
    phantoms.write_phantom(SLUG, folder / "raw" / SLUG)


def _changed(folder: Path) -> None:
    """A corpus, and a download of which a case is gone."""
    _download(folder)
    _build(folder)
    shutil.copytree(folder / "out", folder / "before")
    for path in sorted((folder / "raw").rglob("*_mask.tif"))[:1]:
        path.with_name(path.name.replace("_mask", "")).unlink()
        path.unlink()


def _corpus(folder: Path) -> dict[str, str]:
    """Digest of each file of a corpus that bears its final name."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def _half_corpus(folder: Path) -> list[str]:
    """A dataset is there as it was, as it will be, or not at all; corpus.json is as before or as after."""
    seen, whole = _corpus(folder / "out"), [_corpus(folder / "whole"), _corpus(folder / "before")]
    dataset = {name: digest for name, digest in seen.items() if name.startswith(SLUG)}
    wholes = [{name: digest for name, digest in each.items() if name.startswith(SLUG)} for each in whole]
    problems = [] if not dataset or dataset in wholes else sorted(dataset)
    rest = {name: digest for name, digest in seen.items() if not name.startswith(SLUG)}
    return problems + [name for name, digest in rest.items() if digest not in (w.get(name) for w in whole)]


def _built(folder: Path) -> Any:
    left = [path.name for path in (folder / "out" / ".work").rglob("*") if path.suffix != ".lock"]
    return _corpus(folder / "out"), left


# ---- checkpoints ----

RUN = [
    "run.log_every=1", "run.validate_every=1000", "run.checkpoint_every=1", "run.overlays=0", "batch.images=2",
    "batch.per_rank=2", "data.workers=0",
]  # fmt: skip


def _two_datasets(folder: Path) -> None:
    for slug in ("drive", "ravir"):
        phantoms.write_phantom(slug, folder / "raw" / slug)
    _medshards("build", "drive", "ravir", "--raw", folder / "raw", "--out", folder / "corpus")


def _train(folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    options = [word for option in RUN for word in ("--set", option)]
    words = ["--config", "tiny", "--steps", "3", "--auto-resume", *options]
    _medshards("train", "--data", folder / "corpus", "--out", folder / "run", *words)


def _half_run(folder: Path) -> list[str]:
    from medshards.train.run.checkpoint import CheckpointError, check, folder_of, steps

    problems = []
    for step in steps(folder / "run") if (folder / "run").exists() else []:
        try:
            check(folder_of(folder / "run", step))
        except CheckpointError as error:
            problems.append(str(error))
    return problems


def _trained(folder: Path) -> Any:
    from medshards.train.run.checkpoint import folder_of, read_state, steps

    rows = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    kept = steps(folder / "run")
    losses = {row["step"]: row["loss"] for row in rows if "loss" in row}
    return losses, kept, read_state(folder_of(folder / "run", kept[-1])).step


# ---- the cache of shards ----


def _read_far(folder: Path) -> None:
    from medshards.shards.read.corpus import Corpus

    far = Corpus.open(f"file://{folder}/corpus", cache=folder / "cache", cache_bytes=1 << 30)
    digest = hashlib.sha256(repr([far.read(sample) for sample in range(len(far))]).encode())
    write_atomically(folder / "read", digest.hexdigest().encode())


def _half_cache(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("cache/*.tar") if sha256_file(path) != path.stem]


def _cached(folder: Path) -> Any:
    kept = sorted(path.name for path in (folder / "cache").iterdir() if path.suffix != ".lock")
    return (folder / "read").read_text(), kept


STAGES = {
    "build": Stage(_download, _build, _half_corpus, _built, kills=(2, 130)),
    "publish": Stage(_changed, _build, _half_corpus, _built, kills=(2, 130), begin=0.5),
    "checkpoint": Stage(_two_datasets, _train, _half_run, _trained, kills=(1, 60)),
    "cache": Stage(_two_datasets, _read_far, _half_cache, _cached, kills=(1, 160)),
}
