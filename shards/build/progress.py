"""How far a build is, kept in its work folder: what `build --status` tells on any machine that sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from medshards.common.files import write_atomically
from medshards.shards.encode.stage import Outcome

PROGRESS = "progress.json"
EVERY = 1.0  # s

Task = TypeVar("Task")


@dataclass
class Progress:
    """Of the cases of a download, by a build that has this process at work, whatever its engine.

    given: handed to workers. done: finished, encoded: by this build. samples, rejects (by code): of those done; made:
    samples of those encoded. begun, told: seconds since 1970, told that of these figures.
    """

    cases: int
    begun: float
    told: float
    given: int = 0
    done: int = 0
    encoded: int = 0
    samples: int = 0
    made: int = 0
    rejects: dict[str, int] = field(default_factory=dict)


class ProgressFile:
    """Writes the progress of one build into the folder of its work."""

    def __init__(self, work: Path, cases: int) -> None:
        self._path, now = work / PROGRESS, time.time()
        self._progress = Progress(cases, begun=now, told=now)
        work.mkdir(parents=True, exist_ok=True)
        self._write()

    def giving(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks, counted as they are taken."""
        for task in tasks:
            self._progress.given += 1
            yield task

    def add(self, outcome: Outcome, encoded: bool) -> None:
        """One more case is finished; encoded: not by an earlier build."""
        now = self._progress
        now.done += 1
        now.encoded += encoded
        now.samples += len(outcome.entries)
        now.made += len(outcome.entries) * encoded
        for row in outcome.rejects:
            now.rejects[row["code"]] = now.rejects.get(row["code"], 0) + 1
        if time.time() - now.told > EVERY:
            self._write()

    def _write(self) -> None:
        self._progress.told = time.time()
        write_atomically(self._path, json.dumps(asdict(self._progress)).encode())


def read_progress(work: Path) -> Progress | None:
    """How far the build is whose work lies in this folder, None where none says it."""
    try:
        return Progress(**json.loads((work / PROGRESS).read_bytes()))
    except FileNotFoundError:
        return None
