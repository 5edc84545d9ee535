"""Tables of a process that may grow with a corpus, and its memory not with them."""

from __future__ import annotations

import sqlite3
from typing import Any

from medshards.common.machine import MachineError


class Scratch(sqlite3.Connection):
    """A database that is closed when nobody has it any more; Python 3.13 warns of one that is not."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As that of sqlite3. Raises MachineError where the file cannot be written: the disk is full, or fails."""
        try:
            return super().execute(sql, parameters)
        except sqlite3.OperationalError as error:
            what = f"a temporary file cannot be written ({error}); make room where TMPDIR says"
            raise MachineError(f"{what}, and run the same command again") from error

    def __del__(self) -> None:
        self.close()


def scratch(*statements: str) -> Scratch:
    """An SQLite database in a file without a name, in the folder for temporary files (`TMPDIR`); goes with the object.

    statements: create its tables.
    """
    # one thread at a time uses it, and any may be the one that collects it as garbage
    database = sqlite3.connect("", factory=Scratch, check_same_thread=False)
    for statement in ("PRAGMA journal_mode = OFF", "PRAGMA temp_store = FILE", *statements):
        database.execute(statement)
    return database
