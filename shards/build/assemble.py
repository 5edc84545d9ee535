"""Assemble a dataset's shards, tables and manifest from encoded samples, by copying bytes.

Only here is order decided: by split, then by key. The shards, tables and manifest are written to a folder of
their own, which takes its final name when all is there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from medshards.common.files import sha256_file, sync
from medshards.curate.listing import RejectRow
from medshards.shards.build import index
from medshards.shards.build.manifest import (
    MANIFEST,
    PICTURE,
    REJECTS,
    CaseCounts,
    Decided,
    FileFacts,
    Manifest,
    ShardFacts,
    dump,
    own_digest,
)
from medshards.shards.build.split import SPLITS, Plan
from medshards.shards.encode import tar
from medshards.shards.encode.fingerprint import LENGTH
from medshards.shards.encode.record import Member, Record, json_bytes
from medshards.shards.encode.stage import BlobReader, Entry, members_of
from medshards.shards.view.samples import draw_samples


class ShardWriter:
    """Writes the tars of one split, starting a new one when the next sample would pass `limit` bytes."""

    def __init__(self, folder: Path, slug: str, split: str, limit: int) -> None:
        self._folder, self._slug, self._split, self._limit = folder, slug, split, limit
        self._stream: BinaryIO | None = None
        # Hashing, and waiting for the disk, leave the interpreter free to read and write meanwhile.
        self._aside = ThreadPoolExecutor(1)
        self._hashed: Future[None] | None = None
        self._synced: list[Future[None]] = []
        self._name, self._at, self._samples, self._digest = "", 0, 0, hashlib.sha256()
        self.shards: list[ShardFacts] = []

    def add(self, blob: bytes, record: bytes) -> tuple[str, int]:
        """Append a sample (entries before the record, entry of the record); returns (shard, offset)."""
        size = len(blob) + len(record)
        if self._stream is None or (self._at and self._at + size + len(tar.END) > self._limit):
            self.close()
            self._name = f"{self._split}/{self._slug}-{self._split}-{len(self.shards):06d}.tar"
            path = self._folder / self._name
            path.parent.mkdir(exist_ok=True)
            self._stream = path.open("wb")
            self._digest, self._at, self._samples = hashlib.sha256(), 0, 0
        offset = self._at
        self._write(blob, record)
        self._samples += 1
        return self._name, offset

    def make_room(self, size: int) -> None:
        """Start a new shard when `size` bytes that belong together fit into an empty one and not into this one."""
        if self._at and self._at + size + len(tar.END) > self._limit >= size:
            self.close()

    def _write(self, *pieces: bytes) -> None:
        assert self._stream is not None
        self._stream.writelines(pieces)
        if self._hashed is not None:
            self._hashed.result()  # one sample at a time: memory stays small
        self._hashed = self._aside.submit(self._hash, pieces)
        self._at += sum(map(len, pieces))

    def _hash(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._digest.update(piece)

    def close(self) -> None:
        """End the open shard, if any."""
        if self._stream is None:
            return
        self._write(tar.END)
        self._stream.close()
        self._stream = None
        if self._hashed is not None:
            self._hashed.result()
        self._synced.append(self._aside.submit(sync, self._folder / self._name))
        self.shards.append(
            {
                "file": self._name,
                "split": self._split,
                "samples": self._samples,
                "bytes": self._at,
                "sha256": self._digest.hexdigest(),
            }
        )

    def stop(self) -> None:
        """Wait until the shards are on the disk. Raises OSError where they cannot be."""
        self._aside.shutdown()
        for synced in self._synced:
            synced.result()


def assemble(
    folder: Path,
    planned: Plan,
    rejects: Sequence[RejectRow],
    head: Decided,
    cases: CaseCounts,
    tick: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write shards, tables, rejects, picture and manifest into the empty `folder`; returns the manifest.

    head, cases: what the manifest says of inputs, code and policy, and of the download. tick is called after each
    sample.
    """
    slug, limit = head["dataset"], head["split"]["shard_bytes"]
    writers = {split: ShardWriter(folder, slug, split, limit) for split in SPLITS}
    tables = index.IndexWriter(folder)
    source = BlobReader()
    counts: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    suffixes: Counter[str] = Counter()
    extra: Counter[str] = Counter()
    sizes, last = _volume_sizes(planned.samples), None
    for entry, split, group in planned:
        if entry.volume is not None and entry.volume != last:
            writers[split].make_room(sizes[entry.volume])
        last = entry.volume
        blob = source.read(entry.source, entry.offset, entry.size)
        kept = source.read(entry.meta_source, entry.meta_offset, entry.meta_size + LENGTH)
        meta = json.loads(kept[: entry.meta_size])
        record: Record = meta["record"] | {"group": group, "split": split}
        data = json_bytes(record)
        tail = tar.member(f"{entry.key}.json", data)
        shard, offset = writers[split].add(blob, tail)
        own = Member("json", len(blob) + tar.BLOCK, len(data), hashlib.sha256(data).hexdigest())
        members = tuple(replace(m, offset=m.offset + offset) for m in (*members_of(meta), own))
        facts: index.SourceFacts = {
            "own_group": entry.group,
            "fingerprint": kept[entry.meta_size :],
            "name": entry.name,
            "case": entry.case,
            "input_key": entry.input_key,
        }
        place = index.Placement(shard, offset, len(blob) + len(tail), members)
        tables.add(*index.rows_of(record, place, meta["table1"], facts))
        counts.update({"samples": 1, split: 1, "instances": len(record["instances"])})
        lost.update(record["lost"])
        suffixes.update(member.suffix for member in members)
        extra.update(record.keys() - Record.__annotations__.keys())
        tick()
    source.close()
    tables.close()
    for writer in writers.values():
        writer.close()
    (folder / REJECTS).write_bytes(b"".join(json_bytes(r) for r in rejects))
    (folder / PICTURE).write_bytes(draw_samples(folder, slug))
    for writer in writers.values():
        writer.stop()
    files: dict[str, FileFacts] = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
        for name in (index.INDEX, index.ANNOTATIONS, REJECTS, PICTURE)
    }
    manifest: Manifest = {
        **head,
        "counts": {
            "samples": counts["samples"],
            "train": counts["train"],
            "val": counts["val"],
            "test": counts["test"],
            "instances": counts["instances"],
            "rejects": dict(Counter(r["code"] for r in rejects)),
            "lost": dict(lost),
            "members": dict(suffixes),
            "extra": dict(extra),
            **cases,
        },
        "shards": [s for split in SPLITS for s in writers[split].shards],
        "files": files,
        "digest": "",
    }
    manifest["digest"] = own_digest(manifest)
    (folder / MANIFEST).write_bytes(dump(manifest))
    return manifest


def _volume_sizes(samples: Iterable[Entry]) -> dict[str, int]:
    """Bytes that the slices of each volume take in a shard, at most."""
    sizes: Counter[str] = Counter()
    for entry in samples:
        if entry.volume is not None:
            # the record is smaller than the facts kept of it; its header and padding are not
            sizes[entry.volume] += entry.size + entry.meta_size + 2 * tar.BLOCK
    return dict(sizes)
