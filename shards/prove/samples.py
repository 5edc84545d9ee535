"""Check the samples of one shard: every digest, every tar header, what masks and records say of one another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medshards.common.files import sha256_file
from medshards.common.machine import machine_error
from medshards.curate.formats.pictures import jpeg, png
from medshards.shards.build import index
from medshards.shards.build.manifest import MANIFEST, FileFacts, ShardFacts
from medshards.shards.encode import tar
from medshards.shards.encode.record import InstanceRecord, Record, json_bytes
from medshards.shards.prove.place import Place

ShardTask = tuple[Place, str, ShardFacts, list[index.IndexRow]]  # corpus, slug, manifest's facts, index rows


@dataclass(frozen=True, order=True)
class Problem:
    """Something that is wrong: file relative to the corpus, sample key ("" when no one sample is meant), what."""

    file: str
    sample: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {f'sample {self.sample}: ' if self.sample else ''}{self.what}"


def check_file(out: Path, name: str, facts: FileFacts, listing: str = MANIFEST) -> list[Problem]:
    """Compare a file's size and SHA-256 with what `listing` says of it; `name` is its path in the corpus."""
    path = out / name
    if not path.is_file():
        return [Problem(name, "", "is missing")]
    if path.stat().st_size != facts["bytes"]:
        return [Problem(name, "", f"has {path.stat().st_size} bytes, expected {facts['bytes']}")]
    if sha256_file(path) != facts["sha256"]:
        return [Problem(name, "", f"its SHA-256 is not the one in {listing}")]
    return []


def check_shard(task: ShardTask) -> list[Problem]:
    """Check one shard against its manifest entry and every sample that the index places in it."""
    place, slug, facts, rows = task
    name = f"{slug}/{facts['file']}"
    place.fetch(name)
    problems = gathered(name, "", _check_shard(place.root, slug, facts, rows))
    place.let_go(name, [(row["json_offset"], row["json_size"]) for row in rows])
    return problems


def _check_shard(out: Path, slug: str, facts: ShardFacts, rows: list[index.IndexRow]) -> Iterator[Problem]:
    name, table = f"{slug}/{facts['file']}", f"{slug}/{index.INDEX}"
    path = out / name
    yield from (problems := check_file(out, name, facts))
    if problems and not path.is_file():
        return
    size, end = path.stat().st_size, 0
    with path.open("rb") as stream:
        for row in rows:
            if row["offset"] != end:
                yield Problem(table, row["key"], f"begins at {row['offset']}, not {end}")
            if not 0 <= row["offset"] <= row["offset"] + row["size"] <= size:
                yield Problem(table, row["key"], f"does not lie in the {size} bytes of {name}")
                continue
            stream.seek(row["offset"])
            data = stream.read(row["size"])
            yield from gathered(name, row["key"], _check_sample(slug, name, row, data))
            end = row["offset"] + row["size"]
        stream.seek(end)
        if rows and stream.read(len(tar.END) + 1) != tar.END:
            after = f"after the last sample ({rows[-1]['key']}) the end-of-archive mark is damaged"
            yield Problem(name, "", after)
    if facts["samples"] != len(rows):
        yield Problem(name, "", f"{MANIFEST} counts {facts['samples']} samples, the index {len(rows)}")


def gathered(file: str, sample: str, found: Iterator[Problem]) -> list[Problem]:
    """The problems that are found; what is so damaged that it cannot even be looked at is one, too."""
    problems: list[Problem] = []
    try:
        problems.extend(found)
    except Exception as error:
        if trouble := machine_error(error):
            raise trouble from error
        problems.append(Problem(file, sample, f"cannot be checked ({first_line(error)})"))
    return problems


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _check_sample(slug: str, shard: str, row: index.IndexRow, data: bytes) -> Iterator[Problem]:
    """What is wrong with one sample. Only members that have their digest are read: what is damaged says nothing."""
    key, table = row["key"], f"{slug}/{index.INDEX}"
    at, whole = 0, True
    content: dict[str, bytes] = {}
    for member in index.members(row):
        name = f"{row['key']}.{member.suffix}"
        start = member.offset - row["offset"]
        body = data[start : start + member.size]
        if start != at + tar.BLOCK or len(body) != member.size:
            yield Problem(table, key, f"the place of {name} does not follow from the members before it")
            return
        if data[at:start] != tar.header(name, member.size):
            yield Problem(shard, key, f"the tar header of {name} is damaged")
        if hashlib.sha256(body).hexdigest() != member.sha256:
            yield Problem(shard, key, f"{name} does not have the SHA-256 of the index")
            whole = False
        at = start + member.size + tar.padding(member.size)
        if data[start + member.size : at].strip(b"\0"):
            yield Problem(shard, key, f"the padding after {name} is not zero")
        content[member.suffix] = body
    if at != row["size"]:
        yield Problem(table, key, f"the sample has {at} bytes, the index says {row['size']}")
    if whole:
        yield from _check_content(table, shard, row, content)


def _check_content(
    table: str, shard: str, row: index.IndexRow, content: dict[str, bytes]
) -> Iterator[Problem]:
    key = row["key"]
    record: Record = json.loads(content["json"])
    if json_bytes(record) != content["json"]:
        yield Problem(shard, key, "its record is not canonical JSON")
    place = index.Placement(row["shard"], row["offset"], row["size"], tuple(index.members(row)))
    facts: index.SourceFacts = {
        "own_group": row["own_group"],
        "fingerprint": row["fingerprint"],
        "name": row["name"],
        "case": row["case"],
        "input_key": row["input_key"],
    }
    stored: Mapping[str, object] = row
    implied, _ = index.rows_of(record, place, row["table1_areas"], facts)
    for column, value in implied.items():
        if value != stored[column]:
            yield Problem(table, key, f"{column} is {stored[column]!r}, its record says {value!r}")
    prompts = [text for _, text in sorted({(i["concept"], i["text"]) for i in record["instances"]})]
    if content["txt"].decode().splitlines() != prompts:
        yield Problem(shard, key, "its prompts are not those of its instances")
    size = (row["height"], row["width"])
    image = content[row["image_extension"]]
    pixels = png.decode(image) if row["image_extension"] == "png" else _decode_jpeg(image)
    planes = [png.decode(content[f"mask{p or ''}.png"]) for p in range(len(row["mask_sizes"]))]
    if any(a.shape[:2] != size for a in (pixels, *planes)):
        yield Problem(shard, key, f"its image and masks are not all {size[1]} x {size[0]} px")
        return
    for what in _check_masks(record["instances"], planes):
        yield Problem(shard, key, what)


def _decode_jpeg(data: bytes) -> np.ndarray:
    return jpeg.decode(data, jpeg.read_header(data).channels)


def _check_masks(instances: Sequence[InstanceRecord], planes: Sequence[np.ndarray]) -> Iterator[str]:
    for number, plane in enumerate(planes):
        own = {i["id"]: i for i in instances if i["plane"] == number}
        areas = np.bincount(plane.ravel())
        found = {int(v) for v in np.flatnonzero(areas)} - {0}
        for stray in sorted(found - set(own)):
            yield f"mask plane {number} holds id {stray}, which its record does not list"
        for value, instance in own.items():
            x, y, w, h = instance["bbox"]
            inside = plane[y : y + h, x : x + w] == value
            area = int(areas[value]) if value < areas.size else 0
            tight = (
                inside.shape == (h, w)
                and inside[[0, -1]].any(axis=1).all()
                and inside[:, [0, -1]].any(axis=0).all()
            )
            if area != instance["area"] or int(inside.sum()) != area or not tight:
                yield f"instance {value} is not the {instance['area']} px in box {instance['bbox']} of its record"
