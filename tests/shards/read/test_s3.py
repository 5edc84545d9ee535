"""A corpus behind a real S3 server: what is read is what is there, or it is said; nothing is fetched twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from medshards.shards.read import storage
from medshards.shards.read.cache import Cached
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import Corpus, Shards
from medshards.shards.read.storage import Bucket, Expected, StoreError
from medshards.train.data.ahead import Ahead
from medshards.train.data.plan import Plan, Slices
from tests.s3 import KEYS, Server, serve, upload


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve(monkeypatch) as running:
        yield running


@pytest.mark.parametrize("through_a_cache", [False, True])
def test_a_server_that_answers_badly_at_times_gives_the_same(
    through_a_cache: bool, server: Server, corpus: Path, tmp_path: Path
) -> None:
    url, near = upload(corpus), Corpus.open(corpus)
    server.faults = ("", "failing", "", "short", "", "slow", "", "short", "failing", "", "silent", "", "")
    far = Corpus.open(url, cache=tmp_path if through_a_cache else None, cache_bytes=1 << 30)
    assert far.digest == near.digest
    assert [far.read(i) for i in range(len(far))] == [near.read(i) for i in range(len(near))]
    assert server.met.keys() == set(server.faults)


def test_a_poisoned_shard_of_the_cache_is_noticed(server: Server, corpus: Path, tmp_path: Path) -> None:
    far, near = Corpus.open(upload(corpus), cache=tmp_path, cache_bytes=1 << 30), Corpus.open(corpus)
    assert far.read(9) == near.read(9)
    (shard,) = tmp_path.glob("*.tar")
    row = far.rows("drive").slice(2, 1)
    data = bytearray(shard.read_bytes())
    data[row["image_offset"][0].as_py() + 50] ^= 1
    shard.write_bytes(data)
    server.sent = 0
    assert far.read(9) == near.read(9)
    assert server.sent == len(data)  # fetched again, once


def test_without_a_cache_only_the_samples_that_are_read_are_sent(server: Server, corpus: Path) -> None:
    far = Corpus.open(upload(corpus))
    far.prepare()
    server.sent = 0
    far.read(9)
    row = far.rows("drive").slice(2, 1)
    assert server.sent == row["size"][0].as_py()


def held(cache: Path) -> int:
    """Bytes of the shards in a cache that is in use."""
    total = 0
    for shard in cache.glob("*.tar"):
        with suppress(FileNotFoundError):
            total += shard.stat().st_size
    return total


def test_a_cache_of_a_tenth_fetches_hardly_more_than_the_corpus(server: Server, tmp_path: Path) -> None:
    """Two ranks share it; each reads its slices of two epochs, with samples of one, while the next shards come."""
    generator = np.random.default_rng(0)
    of, sizes = np.repeat(np.arange(60), 20), generator.integers(15_000, 25_000, 60)
    folder, expected = tmp_path / "shards", {}
    folder.mkdir()
    for number, size in enumerate(sizes):
        data = generator.bytes(int(size))
        (folder / f"{number}.tar").write_bytes(data)
        expected[f"{number}.tar"] = Expected(len(data), hashlib.sha256(data).hexdigest())
    limit = int(sizes.sum() // 10)
    plan = Plan(0, [np.arange(len(of))], [1.0], [Shards(of, sizes, tuple(expected))], limit // 2)
    url = upload(folder)
    stores = [Cached(Bucket(url), tmp_path / "cache", limit) for _ in range(2)]
    ahead, ranks = [], []
    for rank, store in enumerate(stores):
        store.expect(expected)
        ahead.append(Ahead(store, plan, 0, 2))
        ranks.append(iter(Slices(plan, 0, 8, 1, rank, 2)))
    server.sent = 0
    for _ in range(2 * plan.length // 2):
        for rank, store in enumerate(stores):
            (request,) = next(ranks[rank])
            path = f"{of[request.sample]}.tar"
            assert store.read_range(path, 100, 50) == (folder / path).read_bytes()[100:150]
            ahead[rank].advance()
        assert held(tmp_path / "cache") <= limit
    for each in ahead:
        each.close()
    assert 2 * sizes.sum() <= server.sent + limit
    assert server.sent <= 2 * 1.1 * sizes.sum()


@pytest.mark.usefixtures("server")
def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch, corpus: Path) -> None:
    import s3fs

    monkeypatch.setattr(storage, "WAITS", (0.0,))
    url = upload(corpus)
    with pytest.raises(CorpusError, match=r"elsewhere is no corpus: it has no corpus\.json"):
        Corpus.open(f"{url}/elsewhere")
    with pytest.raises(StoreError, match=r"s3://nowhere/corpus: The specified bucket does not exist"):
        Corpus.open("s3://nowhere/corpus")
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreError, match=r"Unable to locate credentials: for S3 set AWS_ACCESS_KEY_ID"):
        Corpus.open(url)
