"""Proof: a changed byte is found in any file, and named with its sample where it belongs to one."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medshards.common.files import sha256_file
from medshards.shards.build import index
from medshards.shards.build.manifest import CORPUS, MANIFEST, dump, read_manifest, write_corpus
from medshards.shards.prove.verify import leaks, verify
from medshards.vocab.vocabulary import Vocabulary
from tests.shards.conftest import Build


@pytest.fixture
def corpus(build: Build, tmp_path: Path) -> Path:
    build(tmp_path / "out")
    assert verify(tmp_path / "out") == []
    return tmp_path / "out"


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


def test_no_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="medshards build"):
        verify(tmp_path)
