"""What became of the cases of a build, on disk while it is at work: its memory does not grow with their number."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import fields

from medshards.common.scratch import scratch
from medshards.curate.listing import RejectRow, reject_row
from medshards.curate.sample import Reject
from medshards.shards.encode.record import json_bytes
from medshards.shards.encode.stage import Entry, Outcome

COLUMNS = [field.name for field in fields(Entry)]
PATHS = [COLUMNS.index(name) for name in ("source", "meta_source")]  # in bytes: they may be no UTF-8
QUOTED = ", ".join(f'"{name}"' for name in COLUMNS)


class Ledger(Iterable[Entry], Sized):
    """The outcomes of cases. Iterated: the entries of all cases, in order of key, then of case.

    After `settle` no two entries have one key.
    """

    def __init__(self) -> None:
        self._db = scratch(
            'CREATE TABLE outcomes ("case" TEXT PRIMARY KEY, input_key, rejects, skips) WITHOUT ROWID',
            f"CREATE TABLE entries ({QUOTED})",
            'CREATE INDEX of_case ON entries ("case")',
            'CREATE INDEX by_key ON entries (key, "case")',
        )

    def add(self, outcome: Outcome) -> None:
        """Take in what became of a case, in the place of what was known of it."""
        self.forget(outcome.case)
        for entry in outcome.entries:
            self.enter(entry)
        self.conclude(outcome.case, outcome.input_key, outcome.rejects, outcome.skips)

    def enter(self, entry: Entry) -> None:
        """Take in one sample of a case that is not concluded yet."""
        row = [getattr(entry, name) for name in COLUMNS]
        for path in PATHS:
            row[path] = os.fsencode(row[path])
        self._db.execute(f"INSERT INTO entries VALUES ({', '.join('?' * len(row))})", row)

    def conclude(
        self, case: str, input_key: str, rejects: Sequence[RejectRow], skips: Sequence[tuple[str, str]]
    ) -> None:
        """Say what became of a case beside its samples."""
        row = case, input_key, json.dumps(rejects), json.dumps(skips)
        self._db.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?)", row)

    def forget(self, case: str) -> None:
        """Drop what is known of a case."""
        self._db.execute('DELETE FROM outcomes WHERE "case" = ?', (case,))
        self._db.execute('DELETE FROM entries WHERE "case" = ?', (case,))

    def entered(self) -> Iterator[tuple[str, str]]:
        """Key and input key of each case that has samples; cases may be concluded meanwhile."""
        yield from self._db.execute('SELECT DISTINCT "case", input_key FROM entries ORDER BY "case"')

    def input_key(self, case: str) -> str:
        """The input key under which a case is finished, "" where it is not."""
        row = self._db.execute('SELECT input_key FROM outcomes WHERE "case" = ?', (case,)).fetchone()
        return row[0] if row is not None else ""

    def outcome(self, case: str) -> Outcome:
        """What became of a case that is here."""
        found = self._db.execute('SELECT input_key, rejects, skips FROM outcomes WHERE "case" = ?', (case,))
        input_key, rejects, skips = found.fetchone()
        entries = tuple(self._entries('WHERE "case" = ? ORDER BY rowid', case))
        return Outcome(case, input_key, entries, tuple(json.loads(rejects)), _pairs(skips))

    def inputs(self) -> str:
        """Digest of the input keys of all cases: that of the JSON of the pairs of case and input key."""
        digest, separator = hashlib.sha256(), b"["
        for pair in self._db.execute('SELECT "case", input_key FROM outcomes ORDER BY "case"'):
            digest.update(separator + json_bytes(pair).rstrip())
            separator = b","
        digest.update(b"]\n" if separator == b"," else b"[]\n")
        return digest.hexdigest()

    def rejects(self) -> Iterator[RejectRow]:
        """What was refused of the cases, in order of these."""
        for (rows,) in self._db.execute(
            """SELECT rejects FROM outcomes WHERE rejects != '[]' ORDER BY "case" """
        ):
            yield from json.loads(rows)

    def skips(self) -> Iterator[tuple[str, Counter[str]]]:
        """Cases of which something was left out, in order, and how much by reason."""
        found = self._db.execute(
            """SELECT "case", skips FROM outcomes WHERE skips != '[]' ORDER BY "case" """
        )
        for case, skips in found:
            yield case, Counter(reason for _, reason in json.loads(skips))

    def settle(self) -> list[RejectRow]:
        """Keep of samples of one key that of the least case; refusals of the others."""
        rejects = []
        again = self._db.execute("SELECT key FROM entries GROUP BY key HAVING COUNT(*) > 1").fetchall()
        for (key,) in again:
            same = 'SELECT rowid, "case", name FROM entries WHERE key = ? ORDER BY "case", rowid'
            (_, first, _), *others = self._db.execute(same, (key,)).fetchall()
            for row, case, name in others:
                message = f"sample {key} was already made by case {first}"
                rejects.append(reject_row(case, Reject("duplicate_key", message, name)))
                self._db.execute("DELETE FROM entries WHERE rowid = ?", (row,))
        return rejects

    def __iter__(self) -> Iterator[Entry]:
        return self._entries('ORDER BY key, "case", rowid')

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT COUNT(*) FROM entries").fetchone()[0]
        return count

    def _entries(self, which: str, *values: str) -> Iterator[Entry]:
        for row in self._db.execute(f"SELECT {QUOTED} FROM entries {which}", values):
            values_of = list(row)
            for path in PATHS:
                values_of[path] = os.fsdecode(values_of[path])
            yield Entry(*values_of)


def _pairs(skips: str) -> tuple[tuple[str, str], ...]:
    return tuple((file, reason) for file, reason in json.loads(skips))
