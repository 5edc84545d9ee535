"""index.parquet and annotations.parquet: the schema, a streaming writer, a reader.

One row a sample and one row an instance, in the order of the shards. Offsets are those of a member's data in
its tar file, so any member is one ranged read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from medshards.shards.encode import tar
from medshards.shards.encode.record import Member, Record

INDEX, ANNOTATIONS = "index.parquet", "annotations.parquet"
BATCH = 1024  # rows that are Python objects at a time
GROUP = 16 * BATCH  # samples a row group: fixed, so the bytes of the file depend on its content alone
_OPTIONS: Any = {"compression": "zstd", "write_page_checksum": True}

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),  # no group is in two splits
        ("own_group", pa.string()),  # as the converter named it, before near-duplicates were joined
        ("official_split", pa.string()),
        ("shard", pa.string()),  # path relative to the dataset's folder
        ("offset", pa.int64()),  # first byte of the sample in its shard (a tar header)
        ("size", pa.int64()),  # bytes of all its tar entries
        ("image_extension", pa.string()),
        ("image_offset", pa.int64()),
        ("image_size", pa.int64()),
        ("image_sha256", pa.string()),
        ("mask_offsets", pa.list_(pa.int64())),  # one a plane
        ("mask_sizes", pa.list_(pa.int64())),
        ("mask_sha256", pa.list_(pa.string())),
        ("text_offset", pa.int64()),
        ("text_size", pa.int64()),
        ("text_sha256", pa.string()),
        ("json_offset", pa.int64()),
        ("json_size", pa.int64()),
        ("json_sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("concepts", pa.list_(pa.string())),  # present, in order of id
        ("absent", pa.list_(pa.string())),  # known not to be there: valid negative prompts
        ("instances", pa.int32()),
        ("volume", pa.string()),
        ("slice", pa.int32()),
        ("slices", pa.int32()),  # number of slices of the volume, stored or not
        ("table1_areas", pa.list_(pa.int64())),  # px; null when the paper's rule leaves the image out
        ("fingerprint", pa.binary()),
        ("name", pa.string()),  # file name of the source image
        ("case", pa.string()),
        ("input_key", pa.string()),  # digest of all that decided this sample
    ]
)
ANNOTATION_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("instance", pa.int32()),  # its value in the mask
        ("plane", pa.int32()),
        ("concept", pa.string()),
        ("label", pa.string()),
        ("area", pa.int64()),  # px
        ("x", pa.int32()),
        ("y", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


class SourceFacts(TypedDict):
    """What a row of the index says of where a sample came from; comments are those of INDEX_SCHEMA."""

    own_group: str
    fingerprint: bytes
    name: str
    case: str
    input_key: str


class IndexRow(SourceFacts):
    """A row of index.parquet, by INDEX_SCHEMA."""

    key: str
    split: str
    group: str
    official_split: str | None
    shard: str
    offset: int
    size: int
    image_extension: str
    image_offset: int
    image_size: int
    image_sha256: str
    mask_offsets: list[int]
    mask_sizes: list[int]
    mask_sha256: list[str]
    text_offset: int
    text_size: int
    text_sha256: str
    json_offset: int
    json_size: int
    json_sha256: str
    height: int
    width: int
    concepts: list[str]
    absent: list[str]
    instances: int
    volume: str | None
    slice: int | None
    slices: int | None
    table1_areas: list[int] | None


class AnnotationRow(TypedDict):
    """A row of annotations.parquet, by ANNOTATION_SCHEMA."""

    key: str
    split: str
    instance: int
    plane: int
    concept: str
    label: str
    area: int
    x: int
    y: int
    width: int
    height: int


def members(row: IndexRow) -> list[Member]:
    """All members of a sample in the order of the tar, offsets from the start of the shard."""
    masks = zip(row["mask_offsets"], row["mask_sizes"], row["mask_sha256"], strict=True)
    return [
        Member(row["image_extension"], row["image_offset"], row["image_size"], row["image_sha256"]),
        *(Member(f"mask{p or ''}.png", o, s, d) for p, (o, s, d) in enumerate(masks)),
        Member("txt", row["text_offset"], row["text_size"], row["text_sha256"]),
        Member("json", row["json_offset"], row["json_size"], row["json_sha256"]),
    ]


@dataclass(frozen=True)
class Placement:
    """Where a sample was put: shard, byte of its first tar header, bytes, its members (offsets in the shard)."""

    shard: str
    offset: int
    size: int
    members: tuple[Member, ...]


def rows_of(
    record: Record, place: Placement, table1: list[int] | None, facts: SourceFacts
) -> tuple[IndexRow, list[AnnotationRow]]:
    """The index row and the annotation rows of a sample."""
    image, *masks, text, json_member = place.members
    index: IndexRow = {
        "key": record["key"],
        "split": record["split"],
        "group": record["group"],
        "official_split": record["official_split"],
        "shard": place.shard,
        "offset": place.offset,
        "size": place.size,
        "image_extension": image.suffix,
        "image_offset": image.offset,
        "image_size": image.size,
        "image_sha256": image.sha256,
        "mask_offsets": [m.offset for m in masks],
        "mask_sizes": [m.size for m in masks],
        "mask_sha256": [m.sha256 for m in masks],
        "text_offset": text.offset,
        "text_size": text.size,
        "text_sha256": text.sha256,
        "json_offset": json_member.offset,
        "json_size": json_member.size,
        "json_sha256": json_member.sha256,
        "height": record["size"][0],
        "width": record["size"][1],
        "concepts": record["concepts"],
        "absent": record["absent"],
        "instances": len(record["instances"]),
        "volume": record["volume"],
        "slice": record["slice"][0] if record["slice"] else None,
        "slices": record["slice"][1] if record["slice"] else None,
        "table1_areas": table1,
        **facts,
    }
    return index, annotation_rows(record)


def annotation_rows(record: Record) -> list[AnnotationRow]:
    """The rows of annotations.parquet that a record (KEY.json) implies."""
    return [
        {
            "key": record["key"],
            "split": record["split"],
            "instance": i["id"],
            "plane": i["plane"],
            "concept": i["concept"],
            "label": i["label"],
            "area": i["area"],
            "x": i["bbox"][0],
            "y": i["bbox"][1],
            "width": i["bbox"][2],
            "height": i["bbox"][3],
        }
        for i in record["instances"]
    ]


def table_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes one of the two files; a row group is to hold the rows of `GROUP` samples."""
    return pq.ParquetWriter(path, schema, **_OPTIONS)


class IndexWriter:
    """Writes both tables row group by row group; memory does not grow with the number of samples."""

    def __init__(self, folder: Path) -> None:
        self._index = table_writer(folder / INDEX, INDEX_SCHEMA)
        self._annotations = table_writer(folder / ANNOTATIONS, ANNOTATION_SCHEMA)
        self._rows: list[IndexRow] = []
        self._instances: list[AnnotationRow] = []
        self._tables: list[tuple[pa.Table, pa.Table]] = []  # of the next row group, small as Arrow holds them

    def add(self, row: IndexRow, annotations: list[AnnotationRow]) -> None:
        """Append one sample."""
        self._rows.append(row)
        self._instances.extend(annotations)
        if len(self._rows) >= BATCH:
            self._pack()
        if len(self._tables) >= GROUP // BATCH:
            self._flush()

    def _pack(self) -> None:
        index = pa.Table.from_pylist(self._rows, INDEX_SCHEMA)
        self._tables.append((index, pa.Table.from_pylist(self._instances, ANNOTATION_SCHEMA)))
        self._rows, self._instances = [], []

    def _flush(self) -> None:
        for writer, tables in zip((self._index, self._annotations), zip(*self._tables)):
            whole = pa.concat_tables(tables)
            if len(whole):
                writer.write_table(whole, len(whole))
        self._tables = []

    def close(self) -> None:
        """Write what is left and close both files."""
        self._pack()
        self._flush()
        self._index.close()
        self._annotations.close()


def read_columns(path: Path, columns: list[str]) -> pa.Table:
    """These columns of one of the two files, in its order.

    pyarrow's own `read_table` imports its datasets for it and with them pandas, where that is installed: half a second.
    """
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Any]:
    """The rows of one of the two files, `IndexRow` or `AnnotationRow`, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, columns=columns):
            yield from batch.to_pylist()


def blob_size(row: IndexRow) -> int:
    """Bytes of a sample's tar entries before its record."""
    return row["json_offset"] - tar.BLOCK - row["offset"]
