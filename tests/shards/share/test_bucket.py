"""A corpus in a bucket is the one on the disk, whole or not there at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from medshards.curate.sample import Reject
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.storage import Bucket
from medshards.shards.share.bucket import upload
from tests.s3 import Server, serve
from tests.train.conftest import build_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("upload"), ("drive", "ravir"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve(monkeypatch) as running:
        yield running


def make_bucket(name: str) -> None:
    fsspec.filesystem("s3").mkdir(name)


def contents(url: str) -> dict[str, bytes]:
    bucket = Bucket(url)
    return {name: bucket.read(name) for name in bucket.sizes()}


def files(corpus: Path) -> dict[str, bytes]:
    paths = (path for path in corpus.rglob("*") if path.is_file())
    return {
        path.relative_to(corpus).as_posix(): path.read_bytes() for path in paths if ".work" not in path.parts
    }


@pytest.mark.usefixtures("server")
def test_what_changed_is_sent_and_what_is_gone_removed(corpus: Path, tmp_path: Path) -> None:
    url = "s3://upload-one/medical/corpus"
    make_bucket("upload-one")
    other = "upload-one/medical/corpus/drive/notes.txt"
    fsspec.filesystem("s3").pipe_file(other, b"mine")
    upload(corpus, url)
    assert contents(url) == {**files(corpus), "drive/notes.txt": b"mine"}
    assert Corpus.open(url).digest == Corpus.open(corpus).digest
    assert upload(corpus, url) == (0, 0, 0)

    alone = build_corpus(tmp_path, ("ravir",), seed=1)
    sent = upload(alone, url)
    assert sent.removed > 0
    assert contents(url) == {**files(alone), "drive/notes.txt": b"mine"}  # no build wrote it
    assert upload(alone, url).files == 0


@pytest.mark.usefixtures("server")
def test_nobody_reads_half_of_one(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted at any file there is no corpus; the next upload completes it."""
    make_bucket("upload-two")
    url, changed = "s3://upload-two/corpus", build_corpus(tmp_path, ("drive", "ravir"), seed=1)
    upload(corpus, url)
    put, left = Bucket.put, [0]

    def failing(self: Bucket, path: str, source: Path) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        put(self, path, source)

    monkeypatch.setattr(Bucket, "put", failing)
    for files_sent in (0, 3, 9):
        left[0] = files_sent
        with pytest.raises(KeyboardInterrupt):
            upload(changed, url)
        with pytest.raises(CorpusError, match=r"is no corpus: it has no corpus\.json"):
            Corpus.open(url)
    monkeypatch.setattr(Bucket, "put", put)
    upload(changed, url)
    assert contents(url) == files(changed)


def test_a_damaged_corpus_is_not_uploaded(corpus: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus, tmp_path / "copy")
    (copy / "drive/manifest.json").write_text("{}")
    with pytest.raises(Reject, match=r"manifest\.json is damaged"):
        upload(copy, "memory://never")
    with pytest.raises(Reject, match="holds no whole corpus"):
        upload(tmp_path, "memory://never")
