"""Encoded cases on their way to shards: append-only packs with a journal.

A worker process writes the samples of one case after the other into its own pack and, when a case is
complete, one line into the pack's journal. What a journal names is finished work; a kill leaves at most an
unnamed tail. A case is known by its key and its *input key*, a digest of all that decides its samples. Each line
begins with its own digest and holds those of the samples: what a later run takes over is what was written.

Of a sample there lie, one after the other, its tar entries, the facts for its record and the tables, and its
fingerprint, which is read when samples are compared: those of a few hundred thousand would fill the memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, overload

from medshards.common.machine import machine_error
from medshards.curate.listing import RejectRow
from medshards.shards.encode.fingerprint import LENGTH
from medshards.shards.encode.record import Encoded, Member, Record, json_bytes, pack
from medshards.shards.encode.walk import Walked


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished sample: what planning needs of it, and where its bytes lie.

    key, group: of the sample. digest: SHA-256 of its stored image.
    name: file name of its source image, for the paper's split.
    official: the official split of the sample, if it has one. volume: the volume that it is a slice of, if any.
    case, input_key: of the case it comes from.
    source, offset, size: where the tar entries without the record lie (a pack, or a shard of an earlier build).
    meta_source, meta_offset, meta_size: where the record and the facts for the tables lie; its fingerprint follows.
    """

    key: str
    group: str
    digest: bytes
    name: str
    official: str | None
    volume: str | None
    case: str
    input_key: str
    source: str
    offset: int
    size: int
    meta_source: str
    meta_offset: int
    meta_size: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case: its samples, what was refused, what was left out by the policy."""

    case: str
    input_key: str
    entries: tuple[Entry, ...]
    rejects: tuple[RejectRow, ...]
    skips: tuple[tuple[str, str], ...]  # (file, reason)


IMPLIED = ("source", "meta_source", "case", "input_key")  # by a journal's name and line
KEPT = [field.name for field in fields(Entry) if field.name not in IMPLIED]


PART = 1 << 20  # bytes of a journal that are proven at once


class Part(NamedTuple):
    """Whole lines of a journal: where they begin, and how many bytes they are."""

    journal: Path
    start: int
    size: int


class Packed(NamedTuple):
    """A sample in a pack, and the SHA-256 of its facts, which hold those of its members, and fingerprint."""

    entry: Entry
    sha256: str


class PackWriter:
    """One worker's pack and journal in `folder`; a new pair of files for each process.

    Its methods raise MachineError, with the name of the pack, where a disk is full or fails.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1_000_000):
            path = folder / f"{number:06d}.pack"
            try:
                self._data: BinaryIO = path.open("xb")
                break
            except FileExistsError:
                continue
        self._path = path
        self._journal = path.with_suffix(".journal").open("xb")

    def add(self, case: str, input_key: str, encoded: Encoded) -> Packed:
        """Append one sample of a case; without `finish` it does not count."""
        meta = meta_bytes(encoded.record, encoded.members, encoded.table1)
        with self._named():
            start = self._data.tell()
            self._data.writelines((encoded.blob, meta, encoded.fingerprint))
        entry = Entry(
            key=encoded.key,
            group=encoded.record["group"],
            digest=bytes.fromhex(encoded.members[0].sha256),
            name=PurePosixPath(encoded.record["origin"][0]["file"]).name,
            official=encoded.record["official_split"],
            volume=encoded.record["volume"],
            case=case,
            input_key=input_key,
            source=str(self._path),
            offset=start,
            size=len(encoded.blob),
            meta_source=str(self._path),
            meta_offset=start + len(encoded.blob),
            meta_size=len(meta),
        )
        return Packed(entry, hashlib.sha256(meta + encoded.fingerprint).hexdigest())

    def finish(self, case: str, input_key: str, walked: Walked[Packed]) -> Outcome:
        """Declare a case complete: data first, then its line in the journal."""
        entries = tuple(sample.entry for sample in walked.samples)
        outcome = Outcome(case, input_key, entries, walked.rejects, walked.skips)
        line = json_bytes({**_as_json(outcome), "sha256": [sample.sha256 for sample in walked.samples]})
        with self._named():
            self._data.flush()
            self._journal.write(hashlib.sha256(line).hexdigest().encode() + b" " + line)
            self._journal.flush()
        return outcome

    def close(self) -> None:
        """Close both files."""
        self._data.close()
        self._journal.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """A full disk does not say which file it cut short."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self._path)
            raise machine_error(error) or error from error


def _as_json(outcome: Outcome) -> dict[str, Any]:
    entries = []
    for entry in outcome.entries:
        values = {name: getattr(entry, name) for name in KEPT}
        entries.append({**values, "digest": entry.digest.hex()})
    return {
        "case": outcome.case,
        "input_key": outcome.input_key,
        "entries": entries,
        "rejects": outcome.rejects,
        "skips": outcome.skips,
    }


def parts(folder: Path) -> list[Part]:
    """The journals below a folder, in parts of about PART bytes: work of several processes, and a bit at a time."""
    found = []
    for journal in sorted(folder.rglob("*.journal")):
        start = 0
        with journal.open("rb") as stream:
            while lines := stream.readlines(PART):
                found.append(Part(journal, start, sum(map(len, lines))))
                start = stream.tell()
    return found


def finished(part: Part) -> list[Outcome]:
    """Outcomes named by a journal whose line, and whose bytes in the pack, have their digests; no others count."""
    pack = part.journal.with_suffix(".pack")
    source, outcomes = BlobReader(), []
    try:
        lines = source.read(str(part.journal), part.start, part.size)
        for line in lines.splitlines(keepends=True):
            digest, _, facts = line.partition(b" ")
            if hashlib.sha256(facts).hexdigest().encode() != digest:
                continue
            raw = json.loads(facts)
            outcome = _from_json(raw, str(pack))
            if all(_is_whole(e, d, source) for e, d in zip(outcome.entries, raw["sha256"], strict=True)):
                outcomes.append(outcome)
    finally:
        source.close()
    return outcomes


def _from_json(raw: dict[str, Any], pack: str) -> Outcome:
    implied = {"case": raw["case"], "input_key": raw["input_key"], "source": pack, "meta_source": pack}
    entries = tuple(
        Entry(**{**{name: e[name] for name in KEPT}, "digest": bytes.fromhex(e["digest"])}, **implied)
        for e in raw["entries"]
    )
    skips = tuple((file, reason) for file, reason in raw["skips"])
    return Outcome(raw["case"], raw["input_key"], entries, tuple(raw["rejects"]), skips)


def _is_whole(entry: Entry, digest: str, source: BlobReader) -> bool:
    try:
        blob = source.read(entry.source, entry.offset, entry.size)
        facts = source.read(entry.meta_source, entry.meta_offset, entry.meta_size + LENGTH)
    except EOFError:
        return False
    if hashlib.sha256(facts).hexdigest() != digest:
        return False
    members = members_of(json.loads(facts[: entry.meta_size]))
    files = [(m.suffix, blob[m.offset : m.offset + m.size]) for m in members]
    return pack(entry.key, files) == (blob, members)


class Fingerprints(Sequence[bytes]):
    """Those of samples, each read from where it lies when it is asked for."""

    def __init__(self, samples: Iterable[Entry], source: BlobReader) -> None:
        self._source, self._files = source, dict[str, int]()
        self._file, self._at = array("l"), array("q")
        for entry in samples:
            self._file.append(self._files.setdefault(entry.meta_source, len(self._files)))
            self._at.append(entry.meta_offset + entry.meta_size)
        self._names = list(self._files)

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        if isinstance(at, slice):
            return [self[position] for position in range(*at.indices(len(self)))]
        return self._source.read(self._names[self._file[at]], self._at[at], LENGTH)


def meta_bytes(record: Record, members: Sequence[Member], table1: Sequence[int] | None) -> bytes:
    """What assembling needs beside the tar entries: the record, their places, the areas by the paper's rule."""
    areas = None if table1 is None else list(table1)
    return json_bytes({"record": record, "members": [vars(m) for m in members], "table1": areas})


def members_of(meta: dict[str, Any]) -> tuple[Member, ...]:
    """The members that `meta_bytes` told of, read again."""
    return tuple(Member(**m) for m in meta["members"])


class BlobReader:
    """Reads bytes at offsets of a few files, keeping the last ones open."""

    def __init__(self, most: int = 16) -> None:
        self._open: dict[str, BinaryIO] = {}
        self._most = most

    def read(self, source: str, offset: int, size: int) -> bytes:
        """`size` bytes of the file `source` from `offset`. Raises EOFError when the file ends before."""
        stream = self._open.get(source)
        if stream is None:
            if len(self._open) >= self._most:
                self._open.pop(next(iter(self._open))).close()
            stream = self._open[source] = Path(source).open("rb")  # noqa: SIM115 (closed by close)
        data = os.pread(stream.fileno(), size, offset)
        if len(data) != size:
            raise EOFError(f"{source} ends before byte {offset + size}")
        return data

    def close(self) -> None:
        """Close all files."""
        for stream in self._open.values():
            stream.close()
        self._open = {}
