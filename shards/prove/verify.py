"""Prove a corpus: every digest, every sample, every table, every split.

The chain is corpus.json → manifest.json → shards and tables → members. Beyond digests, what the members say
is recomputed: masks are decoded and measured, records compared with both tables, groups with splits. So a
changed byte is found anywhere, and where it can be told, the sample it belongs to is named.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medshards.common.files import sha256_file
from medshards.shards.build import index
from medshards.shards.build.engine import run
from medshards.shards.build.manifest import CORPUS, MANIFEST, FileFacts, dump, own_digest
from medshards.shards.build.place import WORK, unrecovered
from medshards.shards.encode import tar
from medshards.shards.encode.fingerprint import blank
from medshards.shards.prove.place import Place, at_hand
from medshards.shards.prove.samples import Problem, ShardTask, check_file, check_shard, first_line, gathered

CORPUS_FILES = {CORPUS, WORK}
Rows = list[index.IndexRow]


def verify(
    location: Path | str,
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    expect: str | None = None,
) -> list[Problem]:
    """All problems of the corpus at a folder or URL, sorted; an empty list proves it clean.

    expect: the corpus digest, or the beginning of it, that somebody noted elsewhere. progress(slug, done, total) counts
    shards. Of a URL every shard is fetched, looked at and let go, so the room taken is that of the tables and records
    and of a shard for each worker. Raises FileNotFoundError when there is no corpus, OSError when it cannot be reached.
    """
    with at_hand(location) as place:
        return verify_place(place, workers, progress, expect)


def verify_place(
    place: Place, workers: int, progress: Callable[[str, int, int], None], expect: str | None
) -> list[Problem]:
    """See `verify`."""
    out, names = place.root, place.names()
    corpus, problems = _own_json(out, CORPUS)
    if expect is not None and not str(corpus.get("digest")).startswith(expect):
        problems.append(Problem(CORPUS, "", f"its digest is {corpus.get('digest')}, expected {expect}"))
    listed = corpus.get("datasets")
    if not isinstance(listed, dict):
        listed = {}
    papers = corpus.get("files")
    if not isinstance(papers, dict):
        papers = {}
    on_disk = {slug for slug, _, file in (name.partition("/") for name in names) if file == MANIFEST}
    for name in sorted({name.split("/")[0] for name in names}):
        if name not in on_disk and name not in CORPUS_FILES and name not in listed and name not in papers:
            problems.append(Problem(name, "", "does not belong to the corpus"))
    for name, facts in papers.items():
        problems += gathered(name, "", _check_paper(out, name, facts))
    for slug in unrecovered(out):
        message = f"an interrupted build left it in {WORK}; run `medshards build {slug}` again"
        problems.append(Problem(slug, "", message))
    for slug in sorted(on_disk | set(listed)):
        if slug not in listed:
            problems.append(Problem(slug, "", f"is not listed in {CORPUS}"))
        if slug not in on_disk:
            problems.append(Problem(f"{slug}/{MANIFEST}", "", f"is missing, and {CORPUS} lists the dataset"))
            continue
        name = f"{slug}/{MANIFEST}"
        facts = listed.get(slug)
        if isinstance(facts, dict) and facts.get("manifest_sha256") != sha256_file(out / name):
            problems.append(Problem(name, "", f"its SHA-256 is not the one in {CORPUS}"))
        problems += gathered(name, "", _verify_dataset(place, names, slug, workers, progress))
    return sorted(set(problems))


def _check_paper(out: Path, name: str, facts: FileFacts) -> Iterator[Problem]:
    yield from check_file(out, name, facts, CORPUS)


def _own_json(out: Path, name: str) -> tuple[dict[str, Any], list[Problem]]:
    """corpus.json or a manifest ({} where it is none), and what is wrong with it as a whole."""
    data = (out / name).read_bytes()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        return {}, [Problem(name, "", f"is no JSON any more ({first_line(error)})")]
    if not isinstance(value, dict):
        return {}, [Problem(name, "", "is no JSON object any more")]
    if dump(value) != data:
        return value, [Problem(name, "", "its bytes are not as they were written")]
    if value.get("digest") != own_digest(value):
        return value, [Problem(name, "", "its content does not match its own digest")]
    return value, []


def _verify_dataset(
    place: Place,
    names: Sequence[str],
    slug: str,
    workers: int,
    progress: Callable[[str, int, int], None],
) -> Iterator[Problem]:
    out, table = place.root, f"{slug}/{index.INDEX}"
    manifest, problems = _own_json(out, f"{slug}/{MANIFEST}")
    yield from problems
    shards = {s["file"]: s for s in manifest["shards"]}
    known = {f"{slug}/{name}" for name in (MANIFEST, *manifest["files"], *shards)}
    for name in names:
        if name.startswith(f"{slug}/") and name not in known:
            yield Problem(name, "", f"is not listed in {MANIFEST}")
    for name, facts in manifest["files"].items():
        yield from check_file(out, f"{slug}/{name}", facts)
    rows, broken = _read_index(out, slug, list(shards))
    yield from broken
    by_shard: dict[str, Rows] = defaultdict(list)
    for row in rows:
        by_shard[row["shard"]].append(row)
    tasks = [(place, slug, facts, by_shard.pop(name, [])) for name, facts in shards.items()]
    for name, left in by_shard.items():
        for row in left:
            yield Problem(table, row["key"], f"lies in {name}, no shard of it")
    for done, found in enumerate(run(check_shard, tasks, workers if workers > 1 else 0, _gave_up), start=1):
        yield from found
        progress(slug, done, len(tasks))
    if not broken:
        yield from gathered(f"{slug}/{index.ANNOTATIONS}", "", _check_annotations(out, slug, rows))
        if len(rows) != manifest["counts"]["samples"]:
            message = f"counts {manifest['counts']['samples']} samples, the index has {len(rows)}"
            yield Problem(f"{slug}/{MANIFEST}", "", message)
    if manifest["policy"]["profile"] == "default":
        yield from gathered(table, "", leaks(table, rows))


def _gave_up(task: ShardTask) -> list[Problem]:
    return [Problem(f"{task[1]}/{task[2]['file']}", "", "the process that checks it dies every time")]


def _read_index(out: Path, slug: str, shards: Sequence[str]) -> tuple[Rows, list[Problem]]:
    """The rows of the index; where a part cannot be read, the samples it held are named from the shards."""
    name = f"{slug}/{index.INDEX}"
    rows: Rows = []
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
                        islice(_keys(out / slug, shards), group * index.GROUP, (group + 1) * index.GROUP)
                    )
                    held = f"{keys[0]} … {keys[-1]}" if keys else ""
                    problems.append(
                        Problem(name, held, f"row group {group} cannot be read ({first_line(error)})")
                    )
    except (pa.ArrowException, OSError, ValueError) as error:
        problems.append(Problem(name, "", f"cannot be read ({first_line(error)})"))
    return rows, problems


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


def _check_annotations(out: Path, slug: str, rows: Rows) -> Iterator[Problem]:
    """Compare annotations.parquet, row by row, with what the records in the shards imply."""
    name = f"{slug}/{index.ANNOTATIONS}"
    stored = index.read_rows(out / name)
    for row in rows:
        with (out / slug / row["shard"]).open("rb") as stream:
            stream.seek(row["json_offset"])
            record = json.loads(stream.read(row["json_size"]))
        implied = index.annotation_rows(record)
        if list(islice(stored, len(implied))) != implied:
            yield Problem(name, row["key"], "its rows are not those of its record")
            return  # what follows may be shifted
    if next(stored, None) is not None:
        yield Problem(name, "", "has rows of no sample")


def leaks(table: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Groups, and equal images, that stand in more than one split."""
    for column, what in (("group", "group"), ("image_sha256", "image")):
        first: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            if column == "image_sha256" and blank(row["fingerprint"]):
                continue
            other = first.setdefault(row[column], row)
            if other["split"] != row["split"]:
                message = (
                    f"its {what} is in {row['split']} and, with sample {other['key']}, in {other['split']}"
                )
                yield Problem(table, row["key"], message)
