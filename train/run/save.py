"""Saving the checkpoints of a run, at once or beside the training; see `medshards.train.run.checkpoint`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from medshards.common.files import sha256_file, sync, write_atomically
from medshards.train.run.checkpoint import (
    FOLDER,
    STATE,
    CheckpointError,
    State,
    best,
    digest_of,
    folder_of,
    reasons,
    steps,
    tensors_of,
)
from medshards.train.run.parallel import World


class Checkpointer:
    """Saves the checkpoints of one run and removes old ones; every rank makes the same calls.

    Raises CheckpointError when one cannot be written.
    """

    def __init__(self, run: Path, ranks: World, keep_last: int, asynchronous: bool) -> None:
        self.run, self.ranks, self.keep_last = run, ranks, keep_last
        # On a CPU the weights that a background thread reads would change under its hands.
        self.asynchronous = asynchronous and ranks.device.type == "cuda"
        self._group = dist.new_group(backend="gloo") if self.asynchronous else None
        self._background = ThreadPoolExecutor(1)
        self._pending: tuple[Future[State], State] | None = None
        (run / FOLDER).mkdir(parents=True, exist_ok=True)
        if ranks.first:
            self._prune()  # a process that was killed right after it had saved did not come to it
        ranks.barrier()

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
        """Save now, or begin to and go on training."""
        self.finish()
        tensors = tensors_of(model, optimizer)
        with self._failing(state):
            writer = HuggingFaceStorageWriter(str(self._temporary(state)), save_distributed=True)
            if self.asynchronous:
                written = dcp.async_save(tensors, storage_writer=writer, process_group=self._group)
                self._pending = self._background.submit(self._seal, state, written), state
            else:
                dcp.save(tensors, storage_writer=writer)
                self._publish(self._seal(state))

    def poll(self) -> None:
        """Publish what was saved in the background, if it is done; call once an update."""
        if self._pending is not None and self._pending[0].done():
            self.finish()

    def finish(self) -> None:
        """Wait until the last save is published."""
        if self._pending is not None:
            sealed, state = self._pending
            self._pending = None
            with self._failing(state):
                self._publish(sealed.result())

    @contextmanager
    def _failing(self, state: State) -> Iterator[None]:
        try:
            yield
        except (CheckpointException, OSError) as error:
            folder = folder_of(self.run, state.step)
            raise CheckpointError(f"{folder} cannot be written: {reasons(error)}") from error

    def _temporary(self, state: State) -> Path:
        return self.run / FOLDER / f".{folder_of(self.run, state.step).name}"

    def _seal(self, state: State, written: Any = None) -> State:
        """When all is written, force it to the disk and take its digests."""
        if written is not None:
            written.result()
        if not self.ranks.first:
            return state
        files = sorted(self._temporary(state).iterdir())
        for path in files:
            sync(path)
        return replace(state, files={path.name: sha256_file(path) for path in files})

    def _publish(self, state: State) -> None:
        if not self.ranks.first:
            return
        temporary, final = self._temporary(state), folder_of(self.run, state.step)
        content = asdict(state)
        content["digest"] = digest_of(content)
        write_atomically(temporary / STATE, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
        temporary.rename(final)
        sync(final.parent)
        self._prune()

    def _prune(self) -> None:
        known = best(self.run)
        kept = {*steps(self.run)[-self.keep_last :], *([known[0]] if known else [])}
        for step in steps(self.run):
            if step not in kept:
                folder = folder_of(self.run, step)
                doomed = folder.rename(folder.with_name(f".{folder.name}"))  # no checkpoint from here on
                shutil.rmtree(doomed)
