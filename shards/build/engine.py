"""Where work runs: what an engine is, and the local one, in this process or in others whose death is survived.

An engine maps a function over tasks and yields the results in any order; whatever is built on it must not
depend on that order. The others are in shards/cluster.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Setup = tuple[Callable[..., None], tuple[object, ...]]  # what prepares a process, and its arguments


class Engine(Protocol):
    """What `run` is: see there."""

    def __call__(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task],
        workers: int,
        died: Callable[[Task], Result],
        setup: Setup,
    ) -> Iterator[Result]: ...


CHUNK = 8  # tasks sent to a worker at once
# of a process that has only one task to do, after which the task is to blame; two may go down with their machines
DEATHS = 3


def no_setup() -> None:
    """For work that needs nothing prepared."""


def run(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    died: Callable[[Task], Result],
    setup: Setup = (no_setup, ()),
) -> Iterator[Result]:
    """Yield `work(task)` for every task, in any order, on `workers` processes (0: in this process).

    The setup runs once in each process first. At most a few chunks of tasks a worker are in flight, so memory does
    not grow with their number. When a process is lost (out of memory, a crash in a decoder), each task in flight is
    tried again alone; for one that kills its process every time, `died(task)` is the result.
    """
    if workers < 1:
        setup[0](*setup[1])
        for task in tasks:
            yield work(task)
        return
    stream = iter(tasks)
    while suspects := (yield from _crew(work, stream, setup, workers, 2 * workers, CHUNK)):
        for task in suspects:
            for _ in range(DEATHS):
                if not (yield from _crew(work, iter([task]), setup, 1, 1, 1)):
                    break
            else:
                yield died(task)


def _crew(
    work: Callable[[Task], Result], tasks: Iterator[Task], setup: Setup, workers: int, ahead: int, size: int
) -> Generator[Result, None, list[Task]]:
    """Yield results until the tasks end, or a process is lost; returns the tasks that were in flight then.

    ahead: chunks in flight. size: tasks in a chunk.
    """
    # fork starts in milliseconds and inherits what is loaded; elsewhere the platform's own way is the safe one
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    flying: dict[Future[list[Result]], list[Task]] = {}
    chunk: list[Task] = []
    with ProcessPoolExecutor(workers, context, _start, setup) as pool:
        try:
            while True:
                while len(flying) < ahead and (chunk := list(islice(tasks, size))):
                    flying[pool.submit(_chunk, work, chunk)] = chunk
                    chunk = []
                if not flying:
                    return []
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    results = future.result()
                    del flying[future]
                    yield from results
        except BrokenProcessPool:
            return [task for tasks in (*flying.values(), chunk) for task in tasks]
        finally:
            for future in flying:
                future.cancel()


_unprepared: Exception | None = None  # why this process cannot work; told with its first task


def _start(prepare: Callable[..., None], arguments: tuple[object, ...]) -> None:
    global _unprepared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a message that nobody reads is no reason to die
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphan goes on writing
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it died before that took hold
            os._exit(1)
    try:
        prepare(*arguments)
    except Exception as error:
        _unprepared = error


def _chunk(work: Callable[[Task], Result], tasks: list[Task]) -> list[Result]:
    if _unprepared is not None:
        raise _unprepared
    return [work(task) for task in tasks]
