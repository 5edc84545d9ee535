"""The chain of digests of a corpus: corpus.json → manifest.json → index.parquet, each compared with the one before.

(`medshards.shards.read.corpus` goes on to the members of each sample.) So an index with a changed byte, or that of
another dataset or another build, is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medshards.common.files import sha256_file
from medshards.shards.build import index
from medshards.shards.build.manifest import CORPUS, MANIFEST, own_digest
from medshards.shards.read.storage import Expected, Folder, Store, StoreError, persist
from medshards.vocab.concept import Concept

PLANNED = ["group", "concepts", "absent"]
REPAIR = "run `medshards verify`, then build it or copy it again"


class CorpusError(ValueError):
    """The corpus cannot be used; the message says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Index:
    """The index of one dataset, as its manifest describes it.

    ``shards`` by their path in the corpus, in the order of the index; ``counts`` the samples of each, ``splits`` the
    split, whose shards follow one another. ``concepts``: those that the dataset brings along, since the vocabulary of
    medshards did not hold them.
    """

    store: Store
    slug: str
    expected: Expected
    shards: Mapping[str, Expected]
    counts: tuple[int, ...]
    splits: tuple[str, ...]
    concepts: tuple[Concept, ...]
    check: bool

    @classmethod
    def open(cls, store: Store, slug: str, facts: dict[str, Any], check: bool) -> Index:
        """Read the manifest of a dataset and compare its index with it; ``facts`` is corpus.json.

        Without ``check`` the index is compared with its size alone. Raises CorpusError, StoreError.
        """
        manifest = read_manifest(store, slug, facts)
        own = cls(
            store,
            slug,
            _expected(manifest["files"][index.INDEX]),
            {f"{slug}/{shard['file']}": _expected(shard) for shard in manifest["shards"]},
            tuple(shard["samples"] for shard in manifest["shards"]),
            tuple(shard["split"] for shard in manifest["shards"]),
            tuple(map(Concept.of, manifest["policy"].get("own_concepts", ()))),
            check,
        )
        if isinstance(store, Folder):
            own._compare_on_disk(store.root / own.path)
        return own

    @property
    def path(self) -> str:
        """Path in the corpus."""
        return f"{self.slug}/{index.INDEX}"

    def planned(self, split: str) -> pa.Table:
        """Group, concepts and absent concepts of a split's samples, and the row of each in the index.

        Of the file that part alone is read which holds the split. A concept is a number in a dictionary of its row
        group's, half as large and read in a fourth of the time. Raises CorpusError, StoreError.
        """
        ends = [0, *accumulate(self.counts)]
        mine = [shard for shard, name in enumerate(self.splits) if name == split]
        first, end = (ends[mine[0]], ends[mine[-1] + 1]) if mine else (0, 0)
        with self._parquet(read_dictionary=["concepts.list.element", "absent.list.element"]) as file:
            parts, at = [file.schema_arrow.empty_table().select(PLANNED)], 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if at < end and first < at + rows:
                    part = file.read_row_group(group, PLANNED, use_threads=False)
                    parts.append(part.slice(max(0, first - at), end - max(at, first)))
                at += rows
        table = pa.concat_tables(parts)
        return table.append_column("row", pa.array(np.arange(first, end, dtype=np.int32)))

    def read(self, columns: list[str]) -> pa.Table:
        """These columns of all samples; raises CorpusError, StoreError."""
        with self._parquet() as file:
            return file.read(columns, use_threads=False)

    def mapped(self, columns: list[str], rows: NDArray[np.int64]) -> pa.Table:
        """These columns of some samples (rows in ascending order), in a mapped file that has no name any more.

        Processes that are forked share it, and the system keeps of it in memory what is looked at and there is room
        for. Raises CorpusError, StoreError.
        """
        try:
            return self._mapped(columns, rows)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be unpacked into the folder {tempfile.gettempdir()}: {reason(error)}; free some "
                "room there, or set TMPDIR"
            ) from error

    def _mapped(self, columns: list[str], rows: NDArray[np.int64]) -> pa.Table:
        first = 0
        with tempfile.NamedTemporaryFile(prefix="medshards-") as file:
            schema = pa.schema([index.INDEX_SCHEMA.field(name) for name in columns])
            with pa.ipc.new_file(file, schema) as out:
                for batch in self._batches(columns):
                    inside = rows[slice(*np.searchsorted(rows, (first, first + len(batch))))]
                    out.write_batch(
                        batch if len(inside) == len(batch) else batch.take(pa.array(inside - first))
                    )
                    first += len(batch)
            file.flush()
            return pa.ipc.open_file(pa.memory_map(file.name)).read_all()

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with self._parquet() as file:
            yield from file.iter_batches(index.GROUP, columns=columns, use_threads=False)

    @contextmanager
    def _parquet(self, **options: Any) -> Iterator[pq.ParquetFile]:
        """The file; what goes wrong with it is a CorpusError."""
        store = self.store
        source: Any = store.root / self.path if isinstance(store, Folder) else io.BytesIO(self._fetch())
        try:
            with pq.ParquetFile(source, page_checksum_verification=True, **options) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise CorpusError(f"{self.path} cannot be read ({error}); {REPAIR}") from error

    def _fetch(self) -> bytes:
        def right(data: bytes) -> bool:
            return len(data) == self.expected.size and (
                not self.check or hashlib.sha256(data).hexdigest() == self.expected.sha256
            )

        return _file(self.store, self.path, right)

    def _compare_on_disk(self, path: Path) -> None:
        try:
            same = path.stat().st_size == self.expected.size and (
                not self.check or sha256_file(path) == self.expected.sha256
            )
        except OSError as error:
            raise CorpusError(f"{self.path} cannot be read: {reason(error)}; {REPAIR}") from error
        if not same:
            raise CorpusError(f"{self.path} is not the file that its manifest describes; {REPAIR}")


def read_manifest(store: Store, slug: str, facts: dict[str, Any]) -> dict[str, Any]:
    """manifest.json of a dataset, the one that ``facts``, corpus.json, mean; raises CorpusError, StoreError."""
    digest = facts["datasets"][slug]["manifest_sha256"]
    data = _file(store, f"{slug}/{MANIFEST}", lambda data: hashlib.sha256(data).hexdigest() == digest)
    return dict(json.loads(data))


def _expected(facts: dict[str, Any]) -> Expected:
    return Expected(facts["bytes"], facts["sha256"])


def _file(store: Store, path: str, right: Callable[[bytes], bool]) -> bytes:
    """A whole small file; raises CorpusError when it is not there or not ``right``, and StoreError."""

    def attempt() -> bytes:
        data = store.read(path)
        if not right(data):
            raise CorpusError(f"{path} is not the file that the corpus describes; {REPAIR}")
        return data

    try:
        return persist(attempt, (OSError, CorpusError) if store.remote else (OSError,))
    except FileNotFoundError as error:
        raise CorpusError(f"{path} is not there; {REPAIR}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {reason(error)}") from error


def reason(error: OSError) -> str:
    """What an error says, in one line."""
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


def read_facts(store: Store, location: str | Path) -> dict[str, Any]:
    """corpus.json, whose own digest fits; raises CorpusError, StoreError."""

    def right(data: bytes) -> bool:
        try:
            facts = json.loads(data)
        except ValueError:
            return False
        return isinstance(facts, dict) and facts.get("digest") == own_digest(facts)

    try:
        return dict(json.loads(_file(store, CORPUS, right)))
    except CorpusError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise CorpusError(
                f"{location} is no corpus: it has no {CORPUS}. Give the folder that `medshards build` wrote "
                "(--out), or build it first"
            ) from error
        raise CorpusError(f"{location}: {CORPUS} is damaged: its digest does not fit; {REPAIR}") from error
    except StoreError as error:
        raise StoreError(f"{location}: {error}") from error
