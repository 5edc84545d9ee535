"""A corpus in a bucket is the one on the disk, whole or not there at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.sample import Reject
from medshards.shards.prove.samples import Problem
from medshards.shards.prove.verify import verify
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


@pytest.mark.usefixtures("server")
def test_a_corpus_in_a_bucket_is_proven_and_measured_where_it_lies(corpus: Path, tmp_path: Path) -> None:
    url = "s3://upload-proof/corpus"
    make_bucket("upload-proof")
    upload(corpus, url)
    assert verify(url, workers=2) == verify(corpus) == []
    shown = CliRunner().invoke(cli, ["verify", url])
    here = CliRunner().invoke(cli, ["verify", str(corpus)])
    assert (shown.exit_code, shown.stdout) == (0, here.stdout)
    measured = [CliRunner().invoke(cli, ["stats", where, "--json"]).stdout for where in (url, str(corpus))]
    assert measured[0] == measured[1]
    assert json.loads(measured[0])["datasets"]
    stored = Corpus.open(corpus).read(0)
    (tmp_path / "list.txt").write_text(stored.record["origin"][0]["sha256"])
    audit = ["audit", "--against", str(tmp_path / "list.txt"), "--json"]
    there, here = (CliRunner().invoke(cli, [*audit, where]) for where in (url, str(corpus)))
    assert (there.exit_code, there.stdout) == (here.exit_code, here.stdout)
    assert [sample["key"] for sample in json.loads(there.stdout)["listed"]] == [stored.record["key"]]

    files_there = fsspec.filesystem("s3")
    shard = next(name for name in sorted(files(corpus)) if name.endswith(".tar"))
    data = bytearray(files(corpus)[shard])
    data[700] ^= 1
    files_there.pipe_file(f"upload-proof/corpus/{shard}", bytes(data))
    assert {problem.file for problem in verify(url)} == {shard}
    files_there.rm_file(f"upload-proof/corpus/{shard}")
    assert Problem(shard, "", "is missing") in verify(url)
    files_there.pipe_file(f"upload-proof/corpus/{shard}", files(corpus)[shard])
    files_there.pipe_file("upload-proof/corpus/drive/notes.txt", b"mine")
    assert verify(url) == [Problem("drive/notes.txt", "", "is not listed in manifest.json")]


@pytest.mark.usefixtures("server")
def test_what_is_no_corpus_at_a_url_is_told_in_a_line() -> None:
    make_bucket("upload-none")
    for command in ("verify", "stats", "audit"):
        shown = CliRunner().invoke(cli, [command, "s3://upload-none/corpus"])
        assert shown.exit_code == 1
        assert "corpus.json: no such file" in shown.output
        assert shown.output.count("\n") == 1
