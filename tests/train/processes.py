"""Runs functions in several processes that form a group of ranks, on the CPU with gloo."""

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import boto3  # noqa: F401 - TensorBoard would, in every process anew
import torch

FORK = multiprocessing.get_context("fork")  # everything is imported already
PATIENCE = 300  # s; a busy machine is no failure


def start(ranks: int, function: Callable[..., Any], *args: Any) -> list[BaseProcess]:
    """Start ``function(*args)`` on each rank; its result or sys.exit status becomes the exit status."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    processes: list[BaseProcess] = []
    for rank in range(ranks):
        process = FORK.Process(target=_rank, args=(rank, ranks, port, function, args))
        process.start()
        processes.append(process)
    return processes


def run(ranks: int, function: Callable[..., Any], *args: Any) -> list[int | None]:
    """Run ``function(*args)`` on each rank to its end; returns the exit statuses. One that hangs says where."""
    processes = start(ranks, function, *args)
    for process in processes:
        process.join(PATIENCE)
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGABRT)  # pytest's faulthandler prints what its threads do
            process.join()
    return [process.exitcode for process in processes]


def wait_until(condition: Callable[[], bool], what: str = "what is waited for") -> None:
    """Look again and again whether `condition` holds. Raises TimeoutError when it does not in time."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not happen")
        time.sleep(0.02)


def _rank(rank: int, ranks: int, port: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    try:
        function(*args)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(70)
