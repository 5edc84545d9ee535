"""The cases of a download: as many as there are, on disk in order of their keys, and as JSON for other machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

from medshards.common.scratch import scratch
from medshards.curate.source import Case
from medshards.curate.tree import File


class Cases(Iterable[Case], Sized):
    """Cases of different keys, in order of these; memory does not grow with their number."""

    def __init__(self) -> None:
        self._rows = scratch("CREATE TABLE cases (key TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID")

    def add(self, case: Case) -> None:
        """Take a case in; its key is a new one."""
        self._rows.execute("INSERT INTO cases VALUES (?, ?)", (case.key, json.dumps(facts_of(case))))

    def get(self, key: str) -> Case | None:
        """The case of a key, None where there is none."""
        row = self._rows.execute("SELECT facts FROM cases WHERE key = ?", (key,)).fetchone()
        return case_of(json.loads(row[0])) if row is not None else None

    def __iter__(self) -> Iterator[Case]:
        for (facts,) in self._rows.execute("SELECT facts FROM cases ORDER BY key"):
            yield case_of(json.loads(facts))

    def __len__(self) -> int:
        count: int = self._rows.execute("SELECT COUNT(*) FROM cases").fetchone()[0]
        return count


def facts_of(case: Case) -> dict[str, Any]:
    """A case as JSON values."""
    files = {
        role: {"name": f.name, "path": f.place, "parts": [str(p) for p in f.parts]}
        for role, f in case.files.items()
    }
    return {**{name: getattr(case, name) for name in ("key", "group", "split", "facts")}, "files": files}


def case_of(facts: dict[str, Any]) -> Case:
    """The case that `facts_of` told of."""
    files = {
        role: File(f["name"], f["path"], tuple(map(Path, f["parts"]))) for role, f in facts["files"].items()
    }
    return Case(facts["key"], files, facts["group"], facts["split"], facts["facts"])
