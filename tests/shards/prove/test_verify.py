"""Proof: a changed byte is found in any file, and named with its sample where it belongs to one."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medshards.common.files import sha256_file
from medshards.shards.build import index
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.manifest import CORPUS, MANIFEST, dump, own_digest, read_manifest
from medshards.shards.encode.record import json_bytes
from medshards.shards.prove.verify import leaks, verify
from medshards.vocab.vocabulary import Vocabulary


@pytest.fixture
def corpus(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "out")


def _flip(path: Path, position: int, bit: int = 0) -> bytes:
    data = bytearray(before := path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)
    return before


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_is_found_in_every_file(corpus: Path, seed: int) -> None:
    rng = random.Random(seed)
    for path in sorted(p for p in corpus.rglob("*") if p.is_file() and p.stat().st_size):
        before = _flip(path, rng.randrange(path.stat().st_size), rng.randrange(8))
        problems = verify(corpus)
        path.write_bytes(before)
        assert str(path.relative_to(corpus)) in {p.file for p in problems}
    assert verify(corpus) == []


def test_every_member_of_every_sample_is_named(corpus: Path) -> None:
    for row in list(index.read_rows(corpus / "drive" / index.INDEX)):
        tar = corpus / "drive" / row["shard"]
        places = {m.suffix: m.offset + m.size // 2 for m in index.members(row)}
        places["header"] = row["offset"] + 5
        places["padding"] = row["offset"] + row["size"] - 1
        for place, position in places.items():
            before = _flip(tar, position)
            named = {(p.file, p.sample) for p in verify(corpus)}
            tar.write_bytes(before)
            assert (f"drive/{row['shard']}", row["key"]) in named, place


def test_a_table_that_contradicts_the_shards_is_named_with_the_sample(corpus: Path) -> None:
    path = corpus / "drive" / index.INDEX
    rows = list(index.read_rows(path))
    rows[3]["height"] += 1
    table = pq.read_table(path).from_pylist(rows, index.INDEX_SCHEMA)
    pq.write_table(table, path)
    manifest = read_manifest(corpus / "drive")
    assert manifest is not None
    manifest["files"][index.INDEX] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    manifest["digest"] = own_digest(manifest)
    (corpus / "drive" / MANIFEST).write_bytes(dump(manifest))
    write_corpus(corpus, "default", Vocabulary.load().digest)  # every digest fits again
    assert ("drive/index.parquet", rows[3]["key"]) in {(p.file, p.sample) for p in verify(corpus)}


def test_missing_and_foreign_files_are_named(corpus: Path) -> None:
    (corpus / "drive/val/drive-val-000000.tar").unlink()
    (corpus / "drive/notes.txt").write_text("x")
    (corpus / "other").mkdir()
    named = {p.file: p.what for p in verify(corpus)}
    assert "is missing" in named["drive/val/drive-val-000000.tar"]
    assert "not listed" in named["drive/notes.txt"]
    assert "does not belong" in named["other"]


def test_a_rewritten_corpus_json_is_found(corpus: Path) -> None:
    value = json.loads((corpus / CORPUS).read_bytes())
    value["datasets"]["drive"]["samples"] += 1
    (corpus / CORPUS).write_bytes(dump(value))
    assert [p.file for p in verify(corpus)] == [CORPUS]


def test_a_group_or_an_image_on_both_sides_is_a_leak() -> None:
    rows = [
        {"key": "a", "split": "train", "group": "p", "image_sha256": "1", "fingerprint": b"x"},
        {"key": "b", "split": "val", "group": "p", "image_sha256": "2", "fingerprint": b"y"},
        {"key": "c", "split": "val", "group": "q", "image_sha256": "1", "fingerprint": b"x"},
        {"key": "d", "split": "val", "group": "r", "image_sha256": "3", "fingerprint": bytes(32)},
        {"key": "e", "split": "train", "group": "s", "image_sha256": "3", "fingerprint": bytes(32)},
    ]
    assert {(p.sample, "group" in p.what) for p in leaks("index", rows)} == {("b", True), ("c", False)}


def _flips(corpus: Path, pattern: str, times: int) -> int:
    """Flip bits in the files of a kind; how often verify names the file, and nothing else goes wrong."""
    files = sorted(p for p in corpus.rglob(pattern) if p.is_file() and p.stat().st_size)
    rng, found = random.Random(pattern), 0
    for number in range(times):
        path = files[number % len(files)]
        before = _flip(path, rng.randrange(path.stat().st_size), rng.randrange(8))
        found += str(path.relative_to(corpus)) in {problem.file for problem in verify(corpus)}
        path.write_bytes(before)
    return found


KINDS = ("*.tar", "index.parquet", "annotations.parquet", "manifest.json", "corpus.json")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("pattern", KINDS)
def test_2000_flipped_bits_are_found_and_named(corpus: Path, pattern: str) -> None:
    assert _flips(corpus, pattern, 400) == 400


def _again(corpus: Path, change: Callable[[dict[str, Any]], None], row: dict[str, Any]) -> None:
    """Change a record in its shard, in its length, with new digests all the way up."""
    path = corpus / "drive" / row["shard"]
    data = path.read_bytes()
    start = row["json_offset"]
    record = json.loads(data[start : start + row["json_size"]])
    change(record)
    text = json_bytes(record)
    assert len(text) == row["json_size"]
    path.write_bytes(data[:start] + text + data[start + len(text) :])
    table = corpus / "drive" / index.INDEX
    rows = list(index.read_rows(table))
    for each in rows:
        if each["key"] == row["key"]:
            each["json_sha256"] = hashlib.sha256(text).hexdigest()
    pq.write_table(pa.Table.from_pylist(rows, index.INDEX_SCHEMA), table)
    manifest = read_manifest(corpus / "drive")
    assert manifest is not None
    for facts, file in ((manifest["files"][index.INDEX], table), (manifest["shards"][0], path)):
        facts.update({"bytes": file.stat().st_size, "sha256": sha256_file(file)})
    manifest["digest"] = own_digest(manifest)
    (corpus / "drive" / MANIFEST).write_bytes(dump(manifest))
    write_corpus(corpus, "default", Vocabulary.load().digest)


def _spare(value: object) -> int:
    """Characters of a string that takes the place of a value in a record."""
    return len(json.dumps(value, separators=(",", ":"))) - 2


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a box that is none": lambda r: r["instances"][0].update(bbox="9" * _spare(r["instances"][0]["bbox"])),
    "an instance without a plane": lambda r: r["instances"][0].update(plone=r["instances"][0].pop("plane")),
    "a size that is none": lambda r: r.update(sise=r.pop("size")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_record_of_nonsense_is_named_with_its_sample(
    corpus: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    row = next(r for r in index.read_rows(corpus / "drive" / index.INDEX) if r["instances"])
    _again(corpus, change, row)
    assert (f"drive/{row['shard']}", row["key"]) in {(p.file, p.sample) for p in verify(corpus)}


def test_expect_tells_a_corpus_from_another_that_is_clean(corpus: Path) -> None:
    digest = json.loads((corpus / CORPUS).read_bytes())["digest"]
    assert verify(corpus, expect=digest) == verify(corpus, expect=digest[:16]) == []
    assert [p.file for p in verify(corpus, expect="0" * 16)] == [CORPUS]


def test_a_folder_that_corpus_json_does_not_list_and_one_that_is_gone_are_named(corpus: Path) -> None:
    shutil.copytree(corpus / "drive", corpus / "busi")
    (corpus / "drive").rename(corpus.with_name("away"))
    named = {p.file: p.what for p in verify(corpus)}
    assert "not listed" in named["busi"]
    assert "is missing" in named["drive/manifest.json"]


def test_no_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="medshards build"):
        verify(tmp_path)
