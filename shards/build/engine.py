"""Where the encoding runs: in this process, or in local worker processes.

An engine maps a function over tasks and yields the results in any order; whatever is built on it must not
depend on that order.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

CHUNK = 8  # tasks sent to a worker at once


class WorkerDied(RuntimeError):
    """A worker process ended without a word (out of memory, a crash in a decoder)."""


def run(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    initialize: Callable[..., None],
    arguments: tuple[object, ...],
) -> Iterator[Result]:
    """Yield `work(task)` for every task, in any order, on `workers` processes (1: in this process).

    `initialize(*arguments)` runs once in each process first. At most a few chunks of tasks a worker are in
    flight, so memory does not grow with their number. Raises WorkerDied when a process is lost.
    """
    if workers <= 1:
        initialize(*arguments)
        for task in tasks:
            yield work(task)
        return
    # fork starts in milliseconds and inherits what is loaded; elsewhere the platform's own way is the safe one
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(workers, context, _start, (initialize, arguments)) as pool:
        stream = iter(tasks)
        waiting: set[Future[list[Result]]] = set()
        try:
            while True:
                while len(waiting) < 2 * workers and (chunk := list(islice(stream, CHUNK))):
                    waiting.add(pool.submit(_chunk, work, chunk))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                "a worker process died (out of memory, or a crash in a decoder); what was finished is kept: "
                "run the same command again, with fewer --workers if memory was short"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _start(initialize: Callable[..., None], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphan goes on writing
    initialize(*arguments)


def _chunk(work: Callable[[Task], Result], tasks: list[Task]) -> list[Result]:
    return [work(task) for task in tasks]
