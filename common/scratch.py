"""Tables of a process that may grow with a corpus, and its memory not with them."""

from __future__ import annotations

import sqlite3


def scratch(*statements: str) -> sqlite3.Connection:
    """An SQLite database in a file without a name, in the folder for temporary files (`TMPDIR`); goes with the object.

    statements: create its tables. Its errors are told by `common.machine` as what they are: a disk that is full.
    """
    database = sqlite3.connect("")
    for statement in ("PRAGMA journal_mode = OFF", "PRAGMA temp_store = FILE", *statements):
        database.execute(statement)
    return database
