"""Read a corpus by its index: opened in milliseconds, any sample with one ranged read.

``Corpus.open`` reads corpus.json, each dataset's manifest.json and, of its index.parquet, the few columns that decide
what is trained on; no shard. Each is compared with the digest that the one before holds of it. Where the samples of
a dataset lie is read when the first of them is. ``Corpus.read`` fetches the bytes of one sample (they lie together
in one shard), compares them with the digests of the index and takes them apart. Nothing is decoded here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medshards.shards.read.chain import CorpusError as CorpusError
from medshards.shards.read.chain import Index, read_facts, reason
from medshards.shards.read.storage import Store, StoreError, open_store, persist
from medshards.vocab.vocabulary import Vocabulary, VocabularyError

PLACED = [
    "key", "shard", "offset", "size", "image_extension", "image_offset", "image_size", "image_sha256",
    "mask_offsets", "mask_sizes", "mask_sha256", "json_offset", "json_size", "json_sha256",
]  # fmt: skip
READERS = 8  # indices that are read at a time: a bucket answers each after some 50 ms


class BadSample(Exception):
    """What the corpus holds of one sample cannot be used; the message names it and the reason."""


@dataclass(frozen=True)
class Raw:
    """The encoded members of a sample.

    image: a JPEG or PNG file, ``extension`` says which. planes: PNG files of instance ids. record: KEY.json.
    """

    name: str
    image: bytes
    extension: str
    planes: tuple[bytes, ...]
    record: dict[str, Any]


class Shards(NamedTuple):
    """Where the samples of a dataset lie: ``of`` each the number of its shard, from 0; of these bytes and paths."""

    of: NDArray[np.int64]
    sizes: NDArray[np.int64]
    paths: tuple[str, ...] = ()


class Corpus:
    """One split of a corpus; its samples count through the datasets (in order of slug) and their index rows."""

    def __init__(
        self, store: Store, facts: dict[str, Any], indices: Mapping[str, Index], tables: dict[str, pa.Table],
        check: bool,
    ) -> None:  # fmt: skip
        self.store, self.facts, self.indices, self.tables, self.check = store, facts, indices, tables, check
        self.slugs = list(tables)
        self._ends = np.cumsum([len(table) for table in tables.values()])
        self._placed: dict[str, pa.Table] = {}

    @classmethod
    def open(
        cls,
        location: str | Path,
        split: str = "train",
        datasets: Collection[str] | None = None,
        *,
        check: bool = True,
        check_index: bool = True,
        cache: Path | None = None,
        cache_bytes: int = 0,
    ) -> Corpus:
        """Open one split of the corpus at a folder or URL.

        ``datasets``: only these. ``check``: compare what is read with the digests of the index, and with
        ``check_index`` the indices with those of their manifests. ``cache``: a folder that keeps up to
        ``cache_bytes`` of a remote corpus's shards. Raises CorpusError, StoreError.
        """
        store = open_store(location, cache, cache_bytes)
        facts = read_facts(store, location)
        unknown = sorted(set(datasets or ()) - set(facts["datasets"]))
        if unknown:
            raise CorpusError(
                f"{location} has no dataset {', '.join(unknown)}; it has {', '.join(facts['datasets'])}"
            )
        slugs = [slug for slug in sorted(facts["datasets"]) if datasets is None or slug in datasets]
        with ThreadPoolExecutor(READERS) as pool:
            found = pool.map(lambda slug: Index.open(store, slug, facts, check_index), slugs)
            indices = dict(zip(slugs, found))
            tables = dict(zip(slugs, pool.map(lambda slug: indices[slug].planned(split), slugs)))
        pa.default_memory_pool().release_unused()  # what reading took and workers would inherit
        for opened in indices.values():
            store.expect(opened.shards)
        return cls(
            store, facts, indices, {slug: table for slug, table in tables.items() if len(table)}, check
        )

    @property
    def digest(self) -> str:
        """Digest of the whole corpus."""
        return str(self.facts["digest"])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of medshards, and the concepts that the datasets bring along. Raises CorpusError."""
        try:
            return Vocabulary.load().with_own({slug: index.concepts for slug, index in self.indices.items()})
        except VocabularyError as error:
            raise CorpusError(f"the concepts of the corpus do not fit together: {error}") from error

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def with_prompts(self, negatives: bool, always: Collection[str] = ()) -> Corpus:
        """The samples with a concept to ask for: one that is present or, with ``negatives``, known absent.

        Every sample of the datasets ``always`` has one, whatever the index says.
        """
        tables = {}
        for slug, table in self.tables.items():
            usable = pc.greater(pc.list_value_length(table["concepts"]), 0)
            if negatives:
                usable = pc.or_(usable, pc.greater(pc.list_value_length(table["absent"]), 0))
            usable = pc.or_(usable, slug in always)
            tables[slug] = table if pc.all(usable).as_py() else table.filter(usable)
        kept = {slug: table for slug, table in tables.items() if len(table)}
        return Corpus(self.store, self.facts, self.indices, kept, self.check)

    def groups(self) -> list[NDArray[np.int64]]:
        """For each dataset the group of each sample, as numbers in order of first appearance."""
        return [
            np.asarray(pc.dictionary_encode(table["group"]).combine_chunks().indices, np.int64)
            for table in self.tables.values()
        ]

    def shards(self) -> list[Shards]:
        """Where the samples of each dataset lie, known without reading their places."""
        found = []
        for slug, table in self.tables.items():
            opened = self.indices[slug]
            rows = table["row"].to_numpy()  # samples lie in the shards in the order of the index
            number = np.searchsorted(np.cumsum(opened.counts), rows, side="right")
            used, of = np.unique(number, return_inverse=True)
            files = list(opened.shards.items())
            sizes = np.array([files[place][1].size for place in used], np.int64)
            found.append(Shards(of, sizes, tuple(files[place][0] for place in used)))
        return found

    def concepts(self, datasets: Collection[str] | None = None) -> set[str]:
        """Ids of all concepts that are present or known to be absent somewhere; only in these datasets."""
        found: set[str] = set()
        for table in (t for slug, t in self.tables.items() if datasets is None or slug in datasets):
            for column in ("concepts", "absent"):
                for chunk in table[column].chunks:
                    found |= set(pc.list_flatten(chunk).unique().to_pylist())
        return found

    def place(self, sample: int) -> tuple[str, int]:
        """Dataset and row of a sample."""
        dataset = int(np.searchsorted(self._ends, sample, side="right"))
        return self.slugs[dataset], sample - (int(self._ends[dataset - 1]) if dataset else 0)

    def name(self, sample: int) -> str:
        """``slug/key`` of a sample."""
        slug, row = self.place(sample)
        return f"{slug}/{self.rows(slug)['key'][row].as_py()}"

    def prepare(self) -> None:
        """Read now where all samples lie."""
        for slug in self.slugs:
            self.rows(slug)

    def rows(self, slug: str) -> pa.Table:
        """Where the samples of a dataset lie: the columns `PLACED` of its index."""
        if slug not in self._placed:
            self._placed[slug] = self.indices[slug].mapped(PLACED, self.tables[slug]["row"].to_numpy())
        return self._placed[slug]

    def row(self, sample: int) -> tuple[str, dict[str, Any]]:
        """Dataset of a sample, and the columns `PLACED` of its row in the index."""
        slug, position = self.place(sample)
        rows = self.rows(slug)
        return slug, {name: column[position].as_py() for name, column in zip(rows.column_names, rows.columns)}

    def next_of_dataset(self, sample: int) -> int:
        """The sample after this one in its dataset; the first after the last."""
        slug, row = self.place(sample)
        return sample + 1 if row + 1 < len(self.tables[slug]) else sample - row

    def read(self, sample: int) -> Raw:
        """The bytes of a sample.

        Raises BadSample when they are not those of the index, and StoreError when they cannot be had.
        """
        slug, row = self.row(sample)
        name, path = f"{slug}/{row['key']}", f"{slug}/{row['shard']}"

        def attempt() -> Raw:
            try:
                blob = self.store.read_range(path, row["offset"], row["size"])
                if len(blob) != row["size"]:
                    raise OSError(f"it ends after {len(blob)} of {row['size']} bytes at {row['offset']}")
                return _members(name, path, row, blob, self.check)
            except (OSError, BadSample):
                self.store.discard(path)
                raise

        try:
            return persist(attempt, (OSError, BadSample) if self.store.remote else (OSError,))
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{path} cannot be read for {name}: {reason(error)}") from error


def _members(name: str, path: str, row: dict[str, Any], blob: bytes, check: bool) -> Raw:
    """Take the bytes of a sample apart; raises BadSample."""

    def member(what: str, offset: int, length: int, sha256: str) -> bytes:
        data = blob[offset - row["offset"] : offset - row["offset"] + length]
        if check and hashlib.sha256(data).hexdigest() != sha256:
            raise BadSample(f"{name}: its {what} in {path} is not what the index says; `medshards verify`")
        return data

    image = member("image", row["image_offset"], row["image_size"], row["image_sha256"])
    masks = zip(row["mask_offsets"], row["mask_sizes"], row["mask_sha256"], strict=True)
    planes = tuple(member("mask", *place) for place in masks)
    record = member("record", row["json_offset"], row["json_size"], row["json_sha256"])
    try:
        parsed = json.loads(record)
    except ValueError as error:
        raise BadSample(f"{name}: its record in {path} is no JSON ({error})") from error
    return Raw(name, image, row["image_extension"], planes, parsed)
