"""Prove a corpus: every digest, every sample, every table, every split.

The chain is corpus.json → manifest.json → shards and tables → members. Beyond digests, what the members say
is recomputed: masks are decoded and measured, records compared with both tables, groups with splits. So a
changed byte is found anywhere, and where it can be told, the sample it belongs to is named.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medshards.common.files import sha256_file
from medshards.curate.formats.pictures import jpeg, png
from medshards.shards.build import index
from medshards.shards.build.engine import run
from medshards.shards.build.manifest import CORPUS, MANIFEST, corpus_digest, dump
from medshards.shards.encode import tar
from medshards.shards.encode.fingerprint import blank
from medshards.shards.encode.record import json_bytes

CORPUS_FILES = {CORPUS, ".work"}


@dataclass(frozen=True, order=True)
class Problem:
    """Something that is wrong: file relative to the corpus, sample key ("" when no one sample is meant), what."""

    file: str
    sample: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {f'sample {self.sample}: ' if self.sample else ''}{self.what}"


def verify(
    out: Path, workers: int = 1, progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> list[Problem]:
    """All problems of the corpus at `out`, sorted; an empty list proves it clean.

    Raises FileNotFoundError when there is no corpus. progress(slug, done, total) counts shards.
    """
    if not (out / CORPUS).is_file():
        raise FileNotFoundError(
            f"{out / CORPUS}: no such file; expected the folder that `medshards build --out` wrote"
        )
    corpus, problems = _canonical_json(out, out / CORPUS)
    if corpus is None:
        corpus = {"datasets": {}, "digest": None}
    elif corpus.get("digest") != corpus_digest(corpus):
        problems.append(Problem(CORPUS, "", "its content does not match its own digest"))
    listed = corpus.get("datasets", {})
    on_disk = {p.parent.name for p in out.glob(f"*/{MANIFEST}")}
    for name in sorted(p.name for p in out.iterdir()):
        if name not in on_disk and name not in CORPUS_FILES and name not in listed:
            problems.append(Problem(name, "", "does not belong to the corpus"))
    for slug in sorted(on_disk | set(listed)):
        if slug not in listed and corpus["digest"] is not None:
            problems.append(Problem(slug, "", f"is not listed in {CORPUS}"))
        if slug not in on_disk:
            problems.append(Problem(f"{slug}/{MANIFEST}", "", f"is missing, and {CORPUS} lists the dataset"))
            continue
        expected = listed.get(slug, {}).get("manifest_sha256")
        if expected is not None and sha256_file(out / slug / MANIFEST) != expected:
            problems.append(Problem(f"{slug}/{MANIFEST}", "", f"its SHA-256 is not the one in {CORPUS}"))
        problems += _verify_dataset(out, slug, workers, progress)
    return sorted(set(problems))


def _canonical_json(out: Path, path: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    name = str(path.relative_to(out))
    data = path.read_bytes()
    try:
        value = json.loads(data)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except ValueError as error:
        return None, [Problem(name, "", f"is no JSON any more ({error})")]
    return value, [] if dump(value) == data else [Problem(name, "", "its bytes are not as they were written")]


def _verify_dataset(
    out: Path, slug: str, workers: int, progress: Callable[[str, int, int], None]
) -> list[Problem]:
    folder = out / slug
    manifest, problems = _canonical_json(out, folder / MANIFEST)
    if manifest is None:
        return problems
    try:
        shards = {s["file"]: s for s in manifest["shards"]}
        files = dict(manifest["files"])
        needed: list[tuple[dict[str, Any], tuple[str, ...]]]
        needed = [(s, ("bytes", "sha256", "samples")) for s in shards.values()]
        needed += [(f, ("bytes", "sha256")) for f in files.values()]
        if missing := [name for facts, names in needed for name in names if name not in facts]:
            raise KeyError(missing[0])
        profile, counts = manifest["policy"]["profile"], manifest["counts"]
    except (KeyError, TypeError) as error:
        return [*problems, Problem(f"{slug}/{MANIFEST}", "", f"lacks {error}")]
    known = {MANIFEST, *files, *shards}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in known:
            problems.append(Problem(f"{slug}/{name}", "", f"is not listed in {MANIFEST}"))
    for name, facts in files.items():
        problems += _check_file(out, f"{slug}/{name}", facts)
    rows, broken = _read_index(out, slug, list(shards))
    problems += broken
    by_shard: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_shard[row["shard"]].append(row)
    tasks = [(str(out), slug, facts, by_shard.pop(name, [])) for name, facts in shards.items()]
    for name, left in by_shard.items():
        problems += [
            Problem(f"{slug}/{index.INDEX}", r["key"], f"lies in {name}, no shard of it") for r in left
        ]
    for done, found in enumerate(run(_check_shard, tasks, workers, _no_setup, ()), start=1):
        problems += found
        progress(slug, done, len(tasks))
    if not broken:
        problems += _check_annotations(out, slug, rows)
        if len(rows) != counts.get("samples"):
            problems.append(
                Problem(
                    f"{slug}/{MANIFEST}",
                    "",
                    f"counts {counts.get('samples')} samples, the index has {len(rows)}",
                )
            )
    if profile == "default":
        problems += leaks(f"{slug}/{index.INDEX}", rows)
    return problems


def _no_setup() -> None:
    """Workers that verify need nothing prepared."""


def _check_file(out: Path, name: str, facts: dict[str, Any]) -> list[Problem]:
    path = out / name
    if not path.is_file():
        return [Problem(name, "", "is missing")]
    if path.stat().st_size != facts["bytes"]:
        return [Problem(name, "", f"has {path.stat().st_size} bytes, expected {facts['bytes']}")]
    if sha256_file(path) != facts["sha256"]:
        return [Problem(name, "", f"its SHA-256 is not the one in {MANIFEST}")]
    return []


def _read_index(out: Path, slug: str, shards: Sequence[str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The rows of the index; where a part cannot be read, the samples it held are named from the shards."""
    name = f"{slug}/{index.INDEX}"
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    try:
        with pq.ParquetFile(out / name, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(index.INDEX_SCHEMA):
                problems.append(Problem(name, "", "its columns are not those of this version"))
                return [], problems
            for group in range(file.num_row_groups):
                try:
                    rows += file.read_row_group(group).to_pylist()
                except (pa.ArrowException, OSError, ValueError) as error:
                    keys = list(
                        islice(_keys(out / slug, shards), group * index.BATCH, (group + 1) * index.BATCH)
                    )
                    held = f"{keys[0]} … {keys[-1]}" if keys else ""
                    problems.append(
                        Problem(name, held, f"row group {group} cannot be read ({_first_line(error)})")
                    )
    except (pa.ArrowException, OSError, ValueError) as error:
        problems.append(Problem(name, "", f"cannot be read ({_first_line(error)})"))
    return rows, problems


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _keys(folder: Path, shards: Sequence[str]) -> Iterator[str]:
    """Keys of the samples in the order of the shards, read from the tar headers."""
    last = None
    for shard in shards:
        try:
            with (folder / shard).open("rb") as stream:
                while header := stream.read(tar.BLOCK).rstrip(b"\0"):
                    key = header[:100].split(b"\0")[0].decode("ascii", "replace").split(".")[0]
                    size = int(header[124:135], 8)
                    stream.seek(size + tar.padding(size), 1)
                    if key != last:
                        yield key
                        last = key
        except (OSError, ValueError):
            continue


def _check_shard(task: tuple[str, str, dict[str, Any], list[dict[str, Any]]]) -> list[Problem]:
    """Check one shard against its manifest entry and every sample that the index places in it."""
    root, slug, facts, rows = task
    out, name = Path(root), f"{slug}/{facts['file']}"
    path = out / name
    if not path.is_file():
        return [Problem(name, "", "is missing")]
    problems = _check_file(out, name, facts)
    end = 0
    with path.open("rb") as stream:
        for row in rows:
            if row["offset"] != end:
                problems.append(
                    Problem(f"{slug}/{index.INDEX}", row["key"], f"begins at {row['offset']}, not {end}")
                )
            stream.seek(row["offset"])
            problems += [
                Problem(f, row["key"], what)
                for f, what in _check_sample(slug, name, row, stream.read(row["size"]))
            ]
            end = row["offset"] + row["size"]
        stream.seek(end)
        if rows and stream.read() != tar.END:
            problems.append(
                Problem(
                    name, "", f"after the last sample ({rows[-1]['key']}) the end-of-archive mark is damaged"
                )
            )
    if facts["samples"] != len(rows):
        problems.append(
            Problem(name, "", f"{MANIFEST} counts {facts['samples']} samples, the index {len(rows)}")
        )
    return problems


def _check_sample(slug: str, shard: str, row: dict[str, Any], data: bytes) -> Iterator[tuple[str, str]]:
    """What is wrong with one sample, as (file, message)."""
    table = f"{slug}/{index.INDEX}"
    at = 0
    content: dict[str, bytes] = {}
    for member in index.members(row):
        name = f"{row['key']}.{member.suffix}"
        start = member.offset - row["offset"]
        body = data[start : start + member.size]
        if start != at + tar.BLOCK or len(body) != member.size:
            yield table, f"the place of {name} does not follow from the members before it"
            return
        if data[at:start] != tar.header(name, member.size):
            yield shard, f"the tar header of {name} is damaged"
        if hashlib.sha256(body).hexdigest() != member.sha256:
            yield shard, f"{name} does not have the SHA-256 of the index"
        at = start + member.size + tar.padding(member.size)
        if data[start + member.size : at].strip(b"\0"):
            yield shard, f"the padding after {name} is not zero"
        content[member.suffix] = body
    if at != row["size"]:
        yield table, f"the sample has {at} bytes, the index says {row['size']}"
    yield from _check_content(table, shard, row, content)


def _check_content(
    table: str, shard: str, row: dict[str, Any], content: dict[str, bytes]
) -> Iterator[tuple[str, str]]:
    try:
        record = json.loads(content["json"])
        if json_bytes(record) != content["json"]:
            raise ValueError("not canonical")
        texts = content["txt"].decode()
        place = index.Placement(row["shard"], row["offset"], row["size"], tuple(index.members(row)))
        facts = {name: row[name] for name in ("own_group", "fingerprint", "name", "case", "input_key")}
        implied, _ = index.rows_of(record, place, row["table1_areas"], facts)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        yield shard, f"its record cannot be read ({error})"
        return
    for column in (c for c in implied if implied[c] != row[c]):
        yield table, f"{column} is {row[column]!r}, its record says {implied[column]!r}"
    if texts.splitlines() != [t for _, t in sorted({(i["concept"], i["text"]) for i in record["instances"]})]:
        yield shard, "its prompts are not those of its instances"
    size = (row["height"], row["width"])
    try:
        image = content[row["image_extension"]]
        pixels = png.decode(image) if row["image_extension"] == "png" else _decode_jpeg(image)
        planes = [png.decode_mask(content[f"mask{p or ''}.png"]) for p in range(len(row["mask_sizes"]))]
    except (png.PngError, jpeg.JpegError) as error:
        yield shard, f"cannot be decoded ({error})"
        return
    if any(a.shape[:2] != size for a in (pixels, *planes)):
        yield shard, f"its image and masks are not all {size[1]} x {size[0]} px"
        return
    yield from ((shard, what) for what in _check_masks(record["instances"], planes))


def _decode_jpeg(data: bytes) -> np.ndarray:
    return jpeg.decode(data, jpeg.read_header(data).channels)


def _check_masks(instances: Sequence[dict[str, Any]], planes: Sequence[np.ndarray]) -> Iterator[str]:
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


def _check_annotations(out: Path, slug: str, rows: Sequence[dict[str, Any]]) -> list[Problem]:
    """Compare annotations.parquet, row by row, with what the records in the shards imply."""
    name = f"{slug}/{index.ANNOTATIONS}"
    problems = []
    try:
        stored = index.read_rows(out / name)
        for row in rows:
            with (out / slug / row["shard"]).open("rb") as stream:
                stream.seek(row["json_offset"])
                record = json.loads(stream.read(row["json_size"]))
            implied = index.annotation_rows(record)
            if list(islice(stored, len(implied))) != implied:
                problems.append(Problem(name, row["key"], "its rows are not those of its record"))
                return problems  # what follows may be shifted
        if next(stored, None) is not None:
            problems.append(Problem(name, "", "has rows of no sample"))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        problems.append(Problem(name, "", f"cannot be compared with the records ({_first_line(error)})"))
    return problems


def leaks(table: str, rows: Sequence[dict[str, Any]]) -> Iterator[Problem]:
    """Groups, and equal images, that stand in more than one split."""
    for column, what in (("group", "group"), ("image_sha256", "image")):
        first: dict[str, dict[str, Any]] = {}
        for row in rows:
            if column == "image_sha256" and blank(row["fingerprint"]):
                continue
            other = first.setdefault(row[column], row)
            if other["split"] != row["split"]:
                message = (
                    f"its {what} is in {row['split']} and, with sample {other['key']}, in {other['split']}"
                )
                yield Problem(table, row["key"], message)
