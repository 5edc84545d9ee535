"""An earlier build, taken over: what of it is still as its manifest says, and the cases that this finishes.

Nothing is taken over unchecked: the manifest proves itself and holds the digest of every file. A damaged table
makes nothing reusable, a damaged shard the cases in it; they are made again from the download.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from medshards.common.files import sha256_file
from medshards.curate.listing import RejectRow
from medshards.shards.build import index
from medshards.shards.build.engine import run
from medshards.shards.build.ledger import Ledger
from medshards.shards.build.manifest import REJECTS, dataset_files, proven_manifest
from medshards.shards.encode.record import Member, Record
from medshards.shards.encode.stage import BlobReader, Entry, meta_bytes


class Published:
    """What OUT/<slug> holds.

    manifest: None when there is none, or it is damaged. whole: names of the files that have their digests.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ) -> None:
        self.folder = folder
        self.manifest = proven_manifest(folder)
        self._files = dataset_files(self.manifest) if self.manifest is not None else {}
        self.whole: set[str] = set()
        tasks = [(folder, name, facts["bytes"], facts["sha256"]) for name, facts in self._files.items()]
        for done, (name, good) in enumerate(run(_is_whole, tasks, workers, _gave_up), start=1):
            progress("check", done, len(tasks))
            if good:
                self.whole.add(name)

    @property
    def complete(self) -> bool:
        """True when every file is there as it was written."""
        return self.manifest is not None and self.whole == set(self._files)

    @property
    def moved(self) -> dict[str, str]:
        """The split of each group that `medshards audit --fix` moved."""
        return dict(self.manifest["split"].get("moved", {})) if self.manifest is not None else {}

    def outcomes(self, facts: Path, listed: Sequence[RejectRow]) -> Ledger:
        """The finished cases: their bytes are copied from the shards, not encoded again.

        facts: file for what assembling needs of each sample; written. listed: what listing the download refuses.
        """
        ledger = Ledger()
        if self.manifest is None or not {index.INDEX, REJECTS} <= self.whole:
            return ledger
        damaged: set[str] = set()
        source = BlobReader()
        facts.parent.mkdir(parents=True, exist_ok=True)
        with facts.open("wb") as out:
            for row in index.read_rows(self.folder / index.INDEX):
                if row["shard"] not in self.whole:
                    damaged.add(row["case"])
                    continue
                shard = str(self.folder / row["shard"])
                record = json.loads(source.read(shard, row["json_offset"], row["json_size"]))
                meta = _meta(row, record)
                ledger.enter(_entry(row, shard, str(facts), out.tell(), len(meta)))
                out.write(meta + row["fingerprint"])
        source.close()
        for case in damaged:
            ledger.forget(case)
        skipped = self.manifest["partly_skipped"]
        rejected: dict[str, list[RejectRow]] = {}
        for line in (self.folder / REJECTS).read_text(encoding="utf-8").splitlines():
            reject: RejectRow = json.loads(line)
            if reject not in listed:  # which is told again anyway
                rejected.setdefault(reject["case"], []).append(reject)
        for case, input_key in ledger.entered():
            skips = [("", reason) for reason, n in skipped.get(case, {}).items() for _ in range(n)]
            ledger.conclude(case, input_key, rejected.get(case, ()), skips)
        return ledger


def _is_whole(task: tuple[Path, str, int, str]) -> tuple[str, bool]:
    folder, name, size, digest = task
    path = folder / name
    return name, path.is_file() and path.stat().st_size == size and sha256_file(path) == digest


def _gave_up(task: tuple[Path, str, int, str]) -> tuple[str, bool]:
    return task[1], False


def _meta(row: index.IndexRow, record: Record) -> bytes:
    """What was known of a sample before its split was, from its index row and record."""
    record["group"] = row["own_group"]
    del record["split"]
    own = [Member(m.suffix, m.offset - row["offset"], m.size, m.sha256) for m in index.members(row)[:-1]]
    return meta_bytes(record, own, row["table1_areas"])


def _entry(row: index.IndexRow, shard: str, facts: str, at: int, size: int) -> Entry:
    return Entry(
        key=row["key"],
        group=row["own_group"],
        digest=bytes.fromhex(row["image_sha256"]),
        name=row["name"],
        official=row["official_split"],
        volume=row["volume"],
        case=row["case"],
        input_key=row["input_key"],
        source=shard,
        offset=row["offset"],
        size=index.blob_size(row),
        meta_source=facts,
        meta_offset=at,
        meta_size=size,
    )
