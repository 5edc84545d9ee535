"""Encode on a Ray cluster: a few cases a task, packs in the shared folder; what became of a case is all that returns.

A worker that is lost (out of memory, a crash in a decoder, its node) takes no case with it: each of its cases is tried
again alone, and one that takes its process with it every time is told, as by the local engine.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from medshards.common.console import say
from medshards.common.machine import MachineError
from medshards.common.text import counted
from medshards.curate.pseudonyms import VARIABLE, key_file
from medshards.shards.build.engine import CHUNK, DEATHS, Result, Setup, Task

ANSWER = 10  # s in which the head of a cluster answers


@dataclass(frozen=True)
class RayEngine:
    """An engine (`build.engine.run`) on the cluster at `address` ("auto", HOST:PORT, ray://HOST:PORT).

    memory: bytes that Ray sets aside for each task, None leaves it out. As many tasks run at once as the cluster has
    CPUs, whatever `workers` is. Raises MachineError when there is no Ray, or no cluster; says what it waits for, and
    how many cases were lost with their workers.
    """

    address: str = "auto"
    memory: int | None = None

    def __call__(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task],
        workers: int,
        died: Callable[[Task], Result],
        setup: Setup,
    ) -> Iterator[Result]:
        ray = self._connect()
        self._say_what_is_missing(ray.nodes())
        submit = _remote(self.memory).remote
        prepared = ray.put(setup)
        stream, flying, suspects = iter(tasks), dict[Any, list[Task]](), list[Task]()
        while True:
            ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))  # nodes come and go
            while len(flying) < ahead and (chunk := list(islice(stream, CHUNK))):
                flying[submit(work, chunk, prepared)] = chunk
            if not flying:
                break
            for done in ray.wait(list(flying))[0]:
                chunk = flying.pop(done)
                results = _results(ray, done)
                yield from results or ()
                suspects += chunk if results is None else ()
        if suspects:
            lost = counted(len(suspects), "case")
            say(f"workers of Ray were lost with {lost} in hand; each is tried again alone")
        for task in suspects:
            for _ in range(DEATHS):
                alone = _results(ray, submit(work, [task], prepared))
                if alone is not None:
                    yield from alone
                    break
            else:
                yield died(task)

    def _say_what_is_missing(self, nodes: Iterable[dict[str, Any]]) -> None:
        """A task that fits nowhere waits for a node, which a cluster that grows may start; others wait for ever."""
        most = max((node["Resources"].get("memory", 0) for node in nodes if node["Alive"]), default=0)
        if self.memory and self.memory > most:
            what = f"no node of the Ray cluster has {self.memory / 2**30:.1f} GiB of memory for a task"
            say(f"{what} (the largest: {most / 2**30:.1f} GiB); waiting for one that has")

    def _connect(self) -> Any:
        # Ray tells of each lost worker on standard output, where a script reads ours; read when it is imported
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        try:
            import ray
        except ImportError as error:
            raise MachineError(
                "this needs ray, which is not installed: pip install 'medshards[ray]'"
            ) from error
        if not ray.is_initialized():
            names = {VARIABLE: str(key_file().resolve()), "PYTHONSAFEPATH": "1"}
            try:
                _require_reachable(self.address)
                ray.init(
                    self.address,
                    log_to_driver=False,
                    logging_level="WARNING",
                    runtime_env={"env_vars": names},
                )
            except (OSError, ValueError, RuntimeError) as error:
                what = f"no Ray cluster at {self.address!r} ({' '.join(str(error).split())[:200]})"
                raise MachineError(
                    f"{what}; start one with `ray start --head`, or name it with --ray"
                ) from error
        return ray


def _require_reachable(address: str) -> None:
    """Raises OSError where nobody answers at HOST:PORT; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=ANSWER).close()


@cache
def _remote(memory: int | None) -> Any:
    """`_chunk` as Ray calls it: one for all datasets of a build, for each stays in the cluster until that ends."""
    import ray

    options = {"num_cpus": 1, "max_retries": 0, **({"memory": memory} if memory else {})}
    return ray.remote(**options)(_chunk)


_prepared: Setup | None = None  # what this worker process was prepared with


def _chunk(work: Callable[[Task], Result], tasks: list[Task], setup: Setup) -> list[Result]:
    global _prepared
    if _prepared != setup:
        setup[0](*setup[1])
        _prepared = setup
    return [work(task) for task in tasks]


def _results(ray: Any, reference: Any) -> list[Any] | None:
    """What a task returned, None when its process was lost. Raises what it raised."""
    try:
        results: list[Any] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError:
        return None
    return results
