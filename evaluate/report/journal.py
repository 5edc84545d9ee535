"""What an evaluation has measured so far, on disk: killed and run again, it redoes nothing.

    .TARGET.journal-DIGEST/rank-0.jsonl      a line a sample or volume, in whatever order they were measured

DIGEST is that of everything that decides the figures (corpus, weights, rules, options), so nothing of another
evaluation is ever taken over. A line that a kill cut short is dropped. Each rank writes a file of its own and reads
all of them. The folder goes when the report is written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from medshards.evaluate.report.rows import Measured


class Journal:
    """The samples and volumes measured; `done` holds them by their place."""

    def __init__(self, target: Path | None, made: Mapping[str, Any], rank: int = 0) -> None:
        """target: the report that is to be written; None keeps everything in memory."""
        self.done: dict[tuple[str, int, bool], Measured] = {}
        self._file: TextIO | None = None
        self.folder: Path | None = None
        if target is None:
            return
        digest = hashlib.sha256(json.dumps(made, sort_keys=True, default=str).encode()).hexdigest()[:12]
        self.folder = target.with_name(f".{target.name}.journal-{digest}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.read()
        self._file = (self.folder / f"rank-{rank}.jsonl").open("a", encoding="utf-8")
        self._file.write("\n")  # ends a line that a kill cut short

    def read(self) -> None:
        """Take in what all ranks have written."""
        for path in sorted(self.folder.glob("rank-*.jsonl")) if self.folder else ():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    measured = Measured.of(json.loads(line))
                except (ValueError, TypeError, KeyError):
                    continue
                self.done[measured.place] = measured

    def add(self, measured: Measured) -> None:
        """Keep what was measured of a sample."""
        self.done[measured.place] = measured
        if self._file is not None:
            self._file.write(json.dumps(measured.facts()) + "\n")
            self._file.flush()

    def samples(self) -> list[Measured]:
        """Everything in order of dataset and number, a volume after its first slice."""
        return [self.done[place] for place in sorted(self.done)]

    def close(self, finished: bool) -> None:
        """Close the file; remove the folder when the report is written."""
        if self._file is not None:
            self._file.close()
        if finished and self.folder is not None:
            shutil.rmtree(self.folder)
