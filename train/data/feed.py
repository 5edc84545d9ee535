"""Batches for one rank: the plan says which samples, worker processes read and decode them.

A worker is handed (epoch, sample) and keeps no state, so what a run sees depends on the plan alone. Several
workers and the order in which they finish change nothing: torch's DataLoader hands batches on in order.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from types import TracebackType

from torch.utils.data import DataLoader, Dataset

from medshards.common.memory import keep_freed
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.storage import StoreError
from medshards.train.data.ahead import Ahead
from medshards.train.data.batch import Batch
from medshards.train.data.loader import Samples
from medshards.train.data.plan import Request

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
PATIENCE = 5.0  # s until a worker that was killed must be gone
TOLD = (CorpusError, StoreError, MemoryError)  # of a worker, whose message is for people


class WorkerLost(RuntimeError):
    """A data worker died, which its own code never does; the message says how and what to do."""


class Feed(Iterator[Batch]):
    """One batch for each list of requests, in their order.

    As a context manager it ends its workers, whatever ends the block, and raises WorkerLost in place of what torch
    says about a dead one. Errors of a worker are raised here as they were there.
    """

    def __init__(
        self,
        samples: Samples,
        requests: Iterable[list[Request]],
        workers: int = 0,
        prefetch: int = 4,
        pin_memory: bool = False,
    ) -> None:
        keep_freed()
        if workers:
            samples.corpus.prepare()  # once for all workers, which share it
        before = set(active_children())
        with warnings.catch_warnings():  # a run says it in a line of its own
            warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
            loader = DataLoader(
                _Batches(samples),
                sampler=requests,
                batch_size=None,
                num_workers=workers,
                prefetch_factor=prefetch if workers else None,
                collate_fn=_as_it_is,  # type: ignore[arg-type]
                pin_memory=pin_memory,
                worker_init_fn=_start_worker,
            )
            self._batches: Iterator[Batch | Exception] | None = iter(loader)
        self._workers: set[BaseProcess] = set(active_children()) - before
        self._ahead = Ahead.of(samples.corpus, requests)  # after the fork: threads do not survive one

    def __next__(self) -> Batch:
        if self._batches is None:
            raise StopIteration
        batch = next(self._batches)
        if isinstance(batch, Exception):
            raise batch
        if self._ahead is not None:
            self._ahead.advance()
        return batch

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ahead is not None:
            self._ahead.close()
        if error is None:
            self._batches = None  # with its last reference torch's loader ends its workers in order
        dead = [status for worker in self._workers if (status := worker.exitcode)]
        self._kill()
        if dead and isinstance(error, RuntimeError):
            raise WorkerLost(_epitaph(dead[0])) from error

    def _kill(self) -> None:
        """End what workers there are. They ignore SIGTERM, and whoever waits for them would wait for ever."""
        # Torch's handler takes the end of a worker for an accident.
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            for worker in self._workers:
                worker.kill()
            for worker in self._workers:
                worker.join(PATIENCE)
        finally:
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


class _Batches(Dataset["Batch | Exception"]):
    """Batches by their list of requests; an error that is told to people, as a value.

    (Torch would make a traceback the message of what its workers raise.)
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, requests: list[Request]) -> Batch | Exception:
        try:
            return self.samples.batch(requests)
        except TOLD as error:
            return error


def _as_it_is(batch: Batch | Exception) -> Batch | Exception:
    return batch


def _start_worker(worker: int) -> None:
    # Signals that end a run are sent to every process; the rank itself decides when its workers stop.
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(name, signal.SIG_IGN)
    if (
        sys.platform == "linux"
    ):  # do not outlive a rank that is killed; torch's own watch takes five seconds and more
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _epitaph(status: int) -> str:
    if status == -signal.SIGKILL:
        return (
            "a data worker was killed, most likely because memory ran out: lower data.workers or data.prefetch, or "
            "ask for more memory"
        )
    how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return f"a data worker died {how}; its messages stand above"
