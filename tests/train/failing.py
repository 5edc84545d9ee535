"""The command `medshards` with a cause of failure in it: python -m tests.train.failing CAUSE STAMP train ...

The cause strikes on the last rank in its third update. Just before, the file STAMP appears. A store fails while
samples are fetched ahead: each update that is still made of earlier ones touches STAMP anew.
"""

import os
import signal
import sys
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import torch

from medshards import cli
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.storage import Folder
from medshards.train.run.step import Learner

CAUSES = ("device", "worker", "peer", "store", "exception")
AT = 2  # updates made before


def strike(cause: str, stamp: Path) -> None:
    """Fail now."""
    stamp.touch()
    if cause == "device":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    if cause == "exception":
        raise KeyError("a defect")
    if cause == "peer":
        os.kill(os.getpid(), signal.SIGKILL)
    if cause == "worker":
        if not (workers := active_children()):
            raise MemoryError  # what it is where this process decodes itself
        assert workers[0].pid is not None
        os.kill(workers[0].pid, signal.SIGKILL)


def arm(cause: str, stamp: Path) -> None:
    """Let the cause strike in this process, if it is the last rank."""
    last = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", 1)) - 1)
    update, read, reads = Learner.update, Corpus.read, [0]

    def failing_update(self: Learner, chunks: Any, norms: Any, step: int, total: int) -> Any:
        if step == AT and cause != "store":
            strike(cause, stamp)
        made = update(self, chunks, norms, step, total)
        if stamp.exists():
            stamp.touch()
        return made

    def failing_read(self: Corpus, sample: int) -> Any:
        reads[0] += 1
        if reads[0] == 8:
            stamp.touch()
            Folder.read_range = forbidden  # type: ignore[method-assign]
        return read(self, sample)

    def forbidden(self: Folder, path: str, offset: int, size: int) -> bytes:
        raise PermissionError("403 Forbidden")

    if last:
        Learner.update = failing_update  # type: ignore[method-assign]
        if cause == "store":
            Corpus.read = failing_read  # type: ignore[method-assign]


def main() -> None:
    arm(sys.argv[1], Path(sys.argv[2]))
    del sys.argv[1:3]
    cli.main()


if __name__ == "__main__":
    main()
