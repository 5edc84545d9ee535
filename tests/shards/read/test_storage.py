"""An object store gives what a disk gives, or it is said; the cache holds whole shards within its limit."""

import errno
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from medshards.shards.read import storage
from medshards.shards.read.cache import Cached
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import PLACED, BadSample, Corpus
from medshards.shards.read.storage import Bucket, Expected, Folder, StoreError

SHARD = "drive/train/drive-train-000000.tar"


@pytest.fixture
def bucket(corpus: Path) -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    for path in corpus.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/{path.relative_to(corpus)}", path.read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAITS", (0.0,) * len(storage.WAITS))


def cached(corpus: Path, bucket: str, folder: Path, limit: int = 1 << 30) -> Cached:
    """A cache that knows one shard."""
    store, data = Cached(Bucket(bucket), folder, limit), (corpus / SHARD).read_bytes()
    store.expect({SHARD: Expected(len(data), hashlib.sha256(data).hexdigest())})
    return store


def test_an_object_store_gives_the_same(corpus: Path, bucket: str) -> None:
    near, far = Corpus.open(corpus), Corpus.open(bucket)
    assert far.digest == near.digest
    assert [far.read(i) for i in range(len(far))] == [near.read(i) for i in range(len(near))]


def test_places_lie_in_a_mapped_file_without_a_name(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = Corpus.open(corpus)
    rows, whole = opened.rows("drive"), opened.indices["drive"].read(PLACED)
    assert rows.equals(whole.take(opened.tables["drive"]["row"]))
    assert 0 < len(rows) < len(whole)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_hold_the_places_is_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreError, match=r"busi/index.parquet cannot be unpacked into .*gone: .*TMPDIR"):
        Corpus.open(corpus).read(0)


def test_the_cache_holds_no_more_than_its_limit(corpus: Path, bucket: str, tmp_path: Path) -> None:
    shards = sorted(corpus.rglob("*-train-*.tar"))
    sizes = [shard.stat().st_size for shard in shards]
    limit = sum(sizes) - min(sizes)  # one must go
    far = Corpus.open(bucket, cache=tmp_path / "cache", cache_bytes=limit)
    near = Corpus.open(corpus)
    for _ in range(2):
        for sample in range(len(far)):
            assert far.read(sample) == near.read(sample)
            kept = list((tmp_path / "cache").glob("*.tar"))
            assert sum(path.stat().st_size for path in kept) <= limit
    assert kept
    assert not list((tmp_path / "cache").glob("*partial"))


def test_what_is_being_downloaded_counts_within_the_limit(
    corpus: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes want a shard each, and there is room for one at a time."""
    other = "ravir/train/ravir-train-000000.tar"
    data = (corpus / other).read_bytes()
    limit = max(len(data), (corpus / SHARD).stat().st_size)
    stores = [cached(corpus, bucket, tmp_path / "cache", limit) for _ in range(2)]
    stores[1].expect({other: Expected(len(data), hashlib.sha256(data).hexdigest())})
    held: list[int] = []

    def watched(self: Bucket, path: str, target: Path) -> None:
        files = list((tmp_path / "cache").iterdir())
        promised = [int(f.name.split(".")[1]) for f in files if f.suffix == ".partial"]
        held.append(sum(promised) + sum(f.stat().st_size for f in files if f.suffix == ".tar"))
        target.write_bytes((corpus / path).read_bytes())

    monkeypatch.setattr(Bucket, "fetch", watched)
    threads = [
        threading.Thread(target=store.read_range, args=(path, 0, 512))
        for store, path in zip(stores, (SHARD, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(held) == 2
    assert max(held) <= limit


def test_a_shard_that_others_remove_at_once_is_read_and_not_fetched_again(
    corpus: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, fetched = cached(corpus, bucket, tmp_path / "cache"), []
    fetch, replace = store.bucket.fetch, Path.replace

    def counted(path: str, target: Path) -> None:
        fetched.append(path)
        fetch(path, target)

    def removed(self: Path, target: Path) -> Path:
        replace(self, target).unlink()  # another process needed the room
        return target

    monkeypatch.setattr(store.bucket, "fetch", counted)
    monkeypatch.setattr(Path, "replace", removed)
    assert store.read_range(SHARD, 512, 1024) == (corpus / SHARD).read_bytes()[512 : 512 + 1024]
    assert fetched == [SHARD]
    assert not list((tmp_path / "cache").glob("*.tar"))


def test_a_shard_larger_than_the_cache_is_said(corpus: Path, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is too small: data\.cache_gb allows 0 MiB, one shard has 1"):
        cached(corpus, bucket, tmp_path / "cache", 1000).read_range(SHARD, 0, 512)


def test_a_cached_shard_is_fetched_once(
    corpus: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, fetched = cached(corpus, bucket, tmp_path / "cache"), []
    fetch = store.bucket.fetch

    def counting(path: str, target: Path) -> None:
        fetched.append(path)
        fetch(path, target)

    monkeypatch.setattr(store.bucket, "fetch", counting)
    for offset in (0, 512, 1024):
        store.read_range(SHARD, offset, 512)
    assert fetched == [SHARD]


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed"])
def test_a_damaged_cached_shard_is_fetched_again(
    damage: str, corpus: Path, bucket: str, tmp_path: Path
) -> None:
    far, near = Corpus.open(bucket, cache=tmp_path, cache_bytes=1 << 30), Corpus.open(corpus)
    assert far.read(8) == near.read(8)
    (shard,) = tmp_path.glob("*.tar")
    data = bytearray(shard.read_bytes())
    if damage == "flipped":
        data[near.rows("drive")["image_offset"][1].as_py() + 50] ^= 1
    shard.write_bytes(data[: len(data) // 8] if damage == "truncated" else data)
    if damage == "removed":
        shard.unlink()
    assert far.read(8) == near.read(8)
    assert shard.read_bytes() == (corpus / SHARD).read_bytes()


def test_another_corpus_never_meets_the_shards_of_the_first(
    corpus: Path, bucket: str, tmp_path: Path
) -> None:
    """The file names of two corpora are the same; what is in them is not."""
    store = cached(corpus, bucket, tmp_path)
    store.read_range(SHARD, 0, 512)
    data = bytearray((corpus / SHARD).read_bytes())
    data[5000] ^= 1
    fsspec.filesystem("memory").pipe_file(f"/bucket/{SHARD}", bytes(data))
    store.expect({SHARD: Expected(len(data), hashlib.sha256(data).hexdigest())})
    assert store.read_range(SHARD, 4990, 20) == data[4990:5010]


def test_what_a_killed_process_left_in_the_cache_is_swept(corpus: Path, bucket: str, tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nfrom medshards.common.files import locked\n"
        "root, name = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "with locked(root / f'{name}.lock'):\n"
        "    (root / f'{name}.100000.partial').write_bytes(b'x' * 50)\n"
        "    print(flush=True), sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), "ab"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        cached(corpus, bucket, tmp_path)
        assert list(tmp_path.glob("*.partial"))  # somebody is at it
        process.kill()
        process.wait()
    cached(corpus, bucket, tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_of_the_cache_is_said(
    corpus: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Bucket, path: str, target: Path) -> None:
        target.write_bytes(b"x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    far = Corpus.open(bucket, cache=tmp_path, cache_bytes=1 << 30)
    monkeypatch.setattr(Bucket, "fetch", full)
    with pytest.raises(
        StoreError, match=r"data\.cache = .* cannot be written: No space left on device; free some"
    ):
        far.read(8)
    assert not list(tmp_path.glob("*.partial"))


KINDS = ("forbidden", "failing", "short", "flipped", "silent")


def unreliable(monkeypatch: pytest.MonkeyPatch, kind: str, share: float, seed: int = 0) -> None:
    """So many of the answers of the store are of this kind."""
    generator = random.Random(seed)
    answer = MemoryFileSystem.cat_file

    def cat_file(self: MemoryFileSystem, path: str, start: Any = None, end: Any = None, **more: Any) -> bytes:
        data = bytes(answer(self, path, start=start, end=end, **more))
        if generator.random() >= share:
            return data
        if kind == "forbidden":
            raise PermissionError("403 Forbidden")
        if kind == "failing":
            raise RuntimeError("500 Internal Server Error")  # as some back ends do, no OSError
        if kind == "silent":
            raise TimeoutError
        if kind == "short":
            return data[: generator.randrange(len(data))]
        at = generator.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_fails_at_times_gives_the_same(
    kind: str, corpus: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = Corpus.open(corpus)
    monkeypatch.setattr(storage, "WAITS", (0.0,) * 20)
    unreliable(monkeypatch, kind, 0.3)
    far = Corpus.open(bucket)
    assert [far.read(i) for i in range(len(far))] == [near.read(i) for i in range(len(near))]


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("forbidden", "403 Forbidden"),
        ("failing", "RuntimeError: 500 Internal Server Error"),
        ("short", "it ends after"),
        ("silent", "TimeoutError"),
    ],
)
def test_a_store_that_always_fails_is_no_bad_sample(
    kind: str, said: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Corpus.open(bucket)
    far.prepare()
    unreliable(monkeypatch, kind, 1.0)
    with pytest.raises(StoreError, match=said) as caught:
        far.read(8)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises((StoreError, CorpusError)):
        Corpus.open(bucket)


@pytest.mark.usefixtures("_hasty")
def test_what_stays_damaged_in_the_store_is_a_bad_sample(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Corpus.open(bucket)
    far.prepare()
    memory = fsspec.filesystem("memory")
    data = bytearray(memory.cat_file(f"/bucket/{SHARD}"))
    data[far.rows("drive")["image_offset"][1].as_py() + 50] ^= 1
    memory.pipe_file(f"/bucket/{SHARD}", bytes(data))
    with pytest.raises(BadSample, match="its image in"):
        far.read(8)


def test_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "OPEN_FILES", 2)
    store = Folder(tmp_path)
    for name in "abcd":
        (tmp_path / name).write_text(name * 4)
    assert [store.read_range(name, 1, 2) for name in "abcdab"] == [c.encode() * 2 for c in "abcdab"]
    assert len(store._files) == 2
