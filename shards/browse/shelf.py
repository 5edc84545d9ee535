"""A dataset of a corpus as one browses it: rows a thousand at a time, and any sample by its row."""

from __future__ import annotations

import json
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medshards.common.spread import spread
from medshards.shards.build.index import ANNOTATIONS, INDEX, read_columns
from medshards.shards.build.manifest import REJECTS
from medshards.shards.build.split import SPLITS
from medshards.shards.read.corpus import Corpus, Raw

ROWS = 1000  # rows that a page asks for at a time
COLUMNS = [
    "key", "split", "group", "concepts", "instances", "volume", "slice",
    "image_extension", "image_size", "mask_sizes", "text_size", "json_size",
]  # fmt: skip
SHOWN = ["key", "split", "concepts", "instances", "smallest", "largest"]
NEIGHBOURS = 400  # samples of a group that a page names


class Shelf:
    """The samples of a dataset, in the order of their keys.

    Tables are read when the first row is asked for, pixels never before their sample is.
    """

    def __init__(self, out: Path, slug: str) -> None:
        self.out, self.slug = out, slug
        self._reading = threading.Lock()
        self._corpora: dict[str, Corpus] = {}

    @cached_property
    def table(self) -> pa.Table:
        """The columns `COLUMNS` of all samples; `number`, their place in their split; `smallest` and `largest`, the
        areas (px) of instances, null where there is none."""
        table = read_columns(self.out / self.slug / INDEX, COLUMNS)
        splits, numbers = np.asarray(table["split"].to_numpy(), str), np.zeros(len(table), np.int64)
        for split in SPLITS:
            numbers[splits == split] = np.arange((splits == split).sum())
        areas = read_columns(self.out / self.slug / ANNOTATIONS, ["key", "area"])
        areas = areas.group_by("key").aggregate([("area", "min"), ("area", "max")])
        places = pc.index_in(table["key"], areas["key"].combine_chunks())
        table = table.append_column("number", pa.array(numbers))
        for name, column in (("smallest", "area_min"), ("largest", "area_max")):
            table = table.append_column(name, areas[column].take(places))
        return table.take(pc.sort_indices(table["key"])).combine_chunks()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def firsts(self) -> list[str]:
        """The first key of each page of `ROWS` rows."""
        keys: list[str] = self.table["key"].take(pa.array(range(0, len(self), ROWS), pa.int64())).to_pylist()
        return keys

    def place(self, key: str) -> int | None:
        """The row of a key; None where there is none."""
        row: int = pc.index(self.table["key"], key).as_py()
        return row if row >= 0 else None

    def rows(self, page: int) -> list[dict[str, Any]]:
        """A page of rows: key, split, concepts, number of instances, smallest and largest area."""
        rows: list[dict[str, Any]] = self.table.select(SHOWN).slice(page * ROWS, ROWS).to_pylist()
        return rows

    def some(self, most: int) -> list[int]:
        """At most so many rows, evenly spread; of volumes the first, so that slices lie side by side."""
        if self.table["volume"].null_count < len(self):
            return list(range(min(most, len(self))))
        return spread(range(len(self)), most)

    def read(self, row: int) -> Raw:
        """The encoded members of a sample. Raises BadSample, StoreError."""
        split, number = (self.table[name][row].as_py() for name in ("split", "number"))
        with self._reading:  # a corpus keeps few files open and is not for several threads at once
            return self._corpus(split).read(number)

    def members(self, row: int) -> dict[str, int]:
        """The files of a sample and their bytes, in their order in the shard."""
        own = self.table.slice(row, 1).to_pylist()[0]
        sizes = {own["image_extension"]: own["image_size"]}
        sizes |= {f"mask{plane or ''}.png": size for plane, size in enumerate(own["mask_sizes"])}
        sizes |= {"txt": own["text_size"], "json": own["json_size"]}
        return {f"{own['key']}.{suffix}": size for suffix, size in sizes.items()}

    def _corpus(self, split: str) -> Corpus:
        if split not in self._corpora:
            self._corpora[split] = Corpus.open(self.out, split, [self.slug])
        return self._corpora[split]

    def group(self, name: str) -> list[str]:
        """The keys of a group."""
        keys: list[str] = self.table["key"].filter(pc.equal(self.table["group"], name)).to_pylist()
        return keys

    def volume(self, name: str) -> list[str]:
        """The keys of the slices of a volume, in their order."""
        slices = self.table.filter(pc.equal(self.table["volume"], name))
        keys: list[str] = slices["key"].take(pc.sort_indices(slices["slice"])).to_pylist()
        return keys

    def first_with_instances(self) -> str | None:
        """The key of a sample to stand for the dataset."""
        filled = self.table.filter(pc.greater(self.table["instances"], 0))
        chosen = filled if len(filled) else self.table
        return chosen["key"][0].as_py() if len(chosen) else None

    @cached_property
    def rejects(self) -> list[dict[str, str]]:
        """What the build refused: case, file, code, message."""
        with (self.out / self.slug / REJECTS).open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
