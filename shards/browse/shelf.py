"""A dataset of a corpus as one browses it: rows a thousand at a time, and any sample by its key."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medshards.common.spread import spread
from medshards.shards.build.index import ANNOTATIONS, INDEX
from medshards.shards.build.manifest import REJECTS
from medshards.shards.build.split import SPLITS
from medshards.shards.read.corpus import Corpus, Raw

ROWS = 1000  # rows that a page asks for at a time
COLUMNS = ["key", "split", "group", "concepts", "instances", "volume", "slice"]
NEIGHBOURS = 400  # samples of a group, or slices of a volume, that a page names


class Shelf:
    """The samples of a dataset, in the order of its index. most: only so many, evenly spread.

    Tables are read when the first row is asked for, pixels never before their sample is.
    """

    def __init__(self, out: Path, slug: str, most: int | None = None) -> None:
        self.out, self.slug, self.most = out, slug, most
        self._reading = threading.Lock()
        self._corpora: dict[str, Corpus] = {}

    @cached_property
    def table(self) -> pa.Table:
        """The columns `COLUMNS` of all samples that are shown, with `number`, their place in their split."""
        table = pq.read_table(self.out / self.slug / INDEX, columns=COLUMNS)
        seen: dict[str, int] = dict.fromkeys(SPLITS, 0)
        numbers = []
        for split in table["split"].to_pylist():
            numbers.append(seen[split])
            seen[split] += 1
        table = table.append_column("number", pa.array(numbers, pa.int64()))
        if self.most is not None and self.most < len(table):
            table = table.take(spread(range(len(table)), self.most))
        return table.combine_chunks()

    @cached_property
    def areas(self) -> dict[str, tuple[int, int]]:
        """Smallest and largest area (px) of the instances of each sample that has any."""
        table = pq.read_table(self.out / self.slug / ANNOTATIONS, columns=["key", "area"])
        found = table.group_by("key").aggregate([("area", "min"), ("area", "max")])
        columns = (found[name].to_pylist() for name in ("key", "area_min", "area_max"))
        return {key: (low, high) for key, low, high in zip(*columns, strict=True)}

    @cached_property
    def places(self) -> dict[str, int]:
        """Row of each key."""
        return {key: row for row, key in enumerate(self.table["key"].to_pylist())}

    @property
    def pages(self) -> int:
        """Number of pages of `ROWS` rows."""
        return -(-len(self.table) // ROWS)

    def rows(self, page: int) -> list[dict[str, Any]]:
        """A page of rows: key, split, concepts, number of instances, smallest and largest area."""
        found = []
        for row in self.table.slice(page * ROWS, ROWS).to_pylist():
            low, high = self.areas.get(row["key"], (None, None))
            facts = {name: row[name] for name in ("key", "split", "concepts", "instances")}
            found.append({**facts, "smallest": low, "largest": high})
        return found

    def read(self, key: str) -> Raw:
        """The encoded members of a sample. Raises KeyError, BadSample, StoreError."""
        row = self.table.slice(self.places[key], 1).to_pylist()[0]
        with self._reading:  # a corpus keeps few files open and is not for several threads at once
            return self._corpus(row["split"]).read(row["number"])

    def _corpus(self, split: str) -> Corpus:
        if split not in self._corpora:
            self._corpora[split] = Corpus.open(self.out, split, [self.slug])
        return self._corpora[split]

    def neighbours(self, key: str) -> dict[str, Any]:
        """The samples before and after, those of the same group, and the slices of the same volume, in order."""
        row = self.places[key]
        keys = self.table["key"]
        own = self.table.slice(row, 1).to_pylist()[0]
        group = keys.filter(pc.equal(self.table["group"], own["group"])).to_pylist()
        slices = []
        if own["volume"] is not None:
            volume = self.table.filter(pc.equal(self.table["volume"], own["volume"])).sort_by("slice")
            slices = volume["key"].to_pylist()
        return {
            "before": keys[row - 1].as_py() if row else None,
            "after": keys[row + 1].as_py() if row + 1 < len(keys) else None,
            "group": group[:NEIGHBOURS],
            "in_group": len(group),
            "slices": slices,
        }

    def first_with_instances(self) -> str | None:
        """The key of a sample to stand for the dataset."""
        filled = self.table.filter(pc.greater(self.table["instances"], 0))
        chosen = filled if len(filled) else self.table
        return chosen["key"][0].as_py() if len(chosen) else None

    def rejects(self) -> Iterator[dict[str, str]]:
        """What the build refused: case, file, code, message."""
        path = self.out / self.slug / REJECTS
        if path.exists():
            with path.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines)
