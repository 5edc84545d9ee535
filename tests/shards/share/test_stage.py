"""A corpus at a URL is built by way of a folder: its datasets come from many machines, and it is whole or not there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from medshards.common.console import say
from medshards.shards.build import place
from medshards.shards.build.manifest import CORPUS, LOCK
from medshards.shards.prove.verify import verify
from medshards.shards.read.storage import Bucket
from medshards.shards.share import bucket
from tests.command import medshards
from tests.s3 import Server, serve
from tests.shards.conftest import write_phantoms
from tests.shards.share.test_bucket import contents, files, make_bucket

SLUGS = ("drive", "ravir")
CLAIM = ".work/drive.lock"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(SLUGS, tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def here(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of both datasets that a build into a folder makes."""
    out = tmp_path_factory.mktemp("here")
    assert medshards("build", *SLUGS, "--raw", raw, "--out", out).exit_code == 0
    return out


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bucket, "ASK", 0.05)
    with serve(monkeypatch) as running:
        yield running


def build(slug: str, raw: Path, url: str, *words: str | Path) -> Result:
    return medshards("build", slug, "--raw", raw, "--out", url, *words)


@pytest.mark.usefixtures("server")
def test_datasets_of_two_machines_make_the_corpus_of_one(raw: Path, here: Path, tmp_path: Path) -> None:
    url = "s3://stage-two/medical/corpus"
    make_bucket("stage-two")
    first = build("drive", raw, f"{url}/", "--stage", tmp_path / "a")
    assert first.exit_code == 0
    assert f"8 samples of 1 dataset in {url}" in first.stdout
    assert build("ravir", raw, url, "--stage", tmp_path / "b").exit_code == 0
    assert contents(url) == files(here)
    assert verify(url) == verify(tmp_path / "b") == []

    again = build("ravir", raw, url, "--stage", tmp_path / "b")
    assert "up to date" in again.stdout
    assert "0 files sent" in again.output
    shutil.rmtree(tmp_path / "a")  # what was sent is not sent again
    assert "0 files sent" in build("drive", raw, url, "--stage", tmp_path / "a").output
    assert contents(url) == files(here)


@pytest.mark.usefixtures("server")
def test_builds_on_two_machines_at_once_lose_nothing(raw: Path, here: Path, tmp_path: Path) -> None:
    url = "s3://stage-once/corpus"
    make_bucket("stage-once")
    line: list[str | Path] = [sys.executable, "-m", "medshards", "build", "--raw", raw, "--out", url]
    started = [
        subprocess.Popen(
            [*line, slug, "--stage", tmp_path / slug], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for slug in SLUGS
    ]
    said = [process.communicate(timeout=300)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert contents(url) == files(here)


@pytest.mark.usefixtures("server")
def test_an_upload_waits_for_another_and_says_so(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, waits = "s3://stage-wait/corpus", threading.Event()

    def heard(text: str) -> None:
        say(text)
        waits.set()

    monkeypatch.setattr(bucket, "say", heard)
    make_bucket("stage-wait")
    other = Bucket(url)
    assert other.create(LOCK, b"node7:/stage")
    assert not other.create(LOCK, b"node8:/stage")
    found: list[Result] = []
    waiting = threading.Thread(target=lambda: found.append(build("drive", raw, url)))
    waiting.start()
    assert waits.wait(120)
    time.sleep(10 * bucket.ASK)  # it asks again, and says nothing more
    assert other.sizes().keys() == {LOCK, CLAIM}
    other.remove(LOCK)
    waiting.join(120)
    assert found[0].exit_code == 0
    told = f"waiting for an upload from node7:/stage; should it never be completed there, remove {url}/{LOCK}"
    assert found[0].output.count(told) == 1
    assert CORPUS in other.sizes()
    assert LOCK not in other.sizes()


@pytest.mark.usefixtures("server")
def test_two_builds_of_one_dataset_in_one_stage_exclude_each_other(raw: Path, tmp_path: Path) -> None:
    make_bucket("stage-same")
    with place.held(tmp_path / "stage", "drive"):
        refused = build("drive", raw, "s3://stage-same/corpus", "--stage", tmp_path / "stage")
    assert refused.exit_code == 1
    assert (
        f"drive: not built: locked: another build is writing drive into {tmp_path / 'stage'}"
        in refused.output
    )
    assert not Bucket("s3://stage-same/corpus").sizes()


@pytest.mark.usefixtures("server")
def test_two_builds_of_one_dataset_in_two_stages_exclude_each_other(raw: Path, tmp_path: Path) -> None:
    url, seen = "s3://stage-claim/corpus", []
    make_bucket("stage-claim")
    there = Bucket(url)
    with bucket.claimed(tmp_path / "a", url, "drive"):
        refused = medshards("build", *SLUGS, "--raw", raw, "--out", url, "--stage", tmp_path / "b")
        seen.append(there.read(CLAIM))
    assert refused.exit_code == 1
    assert "drive: not built: locked: another build is writing drive into" in refused.output
    assert f"{tmp_path / 'a'}; should it never be completed there, remove {url}/{CLAIM}" in refused.output
    assert seen[0].decode().endswith(f":{tmp_path / 'a'}")
    assert "8 samples of 1 dataset" in refused.stdout  # ravir
    assert not [name for name in there.sizes() if name.startswith(".work/")]


@pytest.mark.usefixtures("server")
def test_a_build_that_was_killed_is_continued_from_its_stage_alone(raw: Path, tmp_path: Path) -> None:
    url = "s3://stage-killed/corpus"
    make_bucket("stage-killed")
    killed = bucket.claimed(tmp_path / "a", url, "drive")
    killed.__enter__()  # and never left
    assert build("drive", raw, url, "--stage", tmp_path / "b").exit_code == 1
    with place.held(tmp_path / "a", "drive"):  # it was not killed yet
        assert build("drive", raw, url, "--stage", tmp_path / "a").exit_code == 1
    assert CLAIM in Bucket(url).sizes()
    assert build("drive", raw, url, "--stage", tmp_path / "a").exit_code == 0
    assert CLAIM not in Bucket(url).sizes()
    assert build("drive", raw, url, "--stage", tmp_path / "b").exit_code == 0
    assert verify(url) == []


@pytest.mark.usefixtures("server")
def test_an_interrupted_upload_is_completed_with_the_terms_of_the_corpus(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "s3://stage-cut/corpus"
    make_bucket("stage-cut")
    terms = ("--licence", "research", "--allow-unknown")
    assert build("drive", raw, url, *terms).exit_code == 0
    bound = json.loads(Bucket(url).read(CORPUS))["terms"]
    put, left = Bucket.put, [2]

    def failing(self: Bucket, path: str, source: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        put(self, path, source)

    monkeypatch.setattr(Bucket, "put", failing)
    assert build("ravir", raw, url).exit_code == 1
    assert CORPUS not in Bucket(url).sizes()
    monkeypatch.setattr(Bucket, "put", put)
    done = build("ravir", raw, url)
    assert done.exit_code == 0
    assert "ravir: " in done.stdout
    assert "up to date" in done.stdout
    corpus = json.loads(Bucket(url).read(CORPUS))
    assert (corpus["terms"], sorted(corpus["datasets"])) == (bound, list(SLUGS))
    assert LOCK not in Bucket(url).sizes()
    assert verify(url) == []


@pytest.mark.usefixtures("server")
def test_the_corpus_at_the_url_decides_what_goes_into_it(raw: Path, tmp_path: Path) -> None:
    url = "s3://stage-rules/corpus"
    make_bucket("stage-rules")
    assert build("drive", raw, url, "--stage", tmp_path / "a").exit_code == 0
    refused = build("ravir", raw, url, "--stage", tmp_path / "b", "--profile", "paper")
    assert refused.exit_code == 1
    assert f"{url} was built with --profile default" in refused.output
    names = Bucket(url).sizes()
    lost = next(name for name in names if name.endswith(".tar"))
    Bucket(url).remove(lost)
    refused = build("ravir", raw, url, "--stage", tmp_path / "b")
    assert refused.exit_code == 1
    assert f"{url}/{lost} is not as its manifest says; build drive again" in " ".join(refused.output.split())
    assert Bucket(url).sizes().keys() == names.keys() - {lost}  # nothing was changed, and no lock is left
    assert build("drive", raw, url, "--stage", tmp_path / "a").exit_code == 0
    assert verify(url) == []


@pytest.mark.usefixtures("server")
def test_the_status_of_a_corpus_at_a_url_is_that_of_its_stage(raw: Path, tmp_path: Path) -> None:
    url = "s3://stage-status/corpus"
    make_bucket("stage-status")
    none = medshards("build", "--status", "--out", url)
    assert none.exit_code == 2
    assert "no such folder as" in none.output
    assert build("drive", raw, url).exit_code == 0
    told = medshards("build", "--status", "--out", url)
    assert told.exit_code == 0
    assert "no build is at work" in told.stdout
    assert (tmp_path / "cache/stages/s3%3A%2F%2Fstage-status%2Fcorpus/drive/manifest.json").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "out", "--stage", "stage"), "--stage goes with --out URL"),
        (("--out", "s3://b/c", "--upload", "s3://b/d"), "--upload goes with --out DIR"),
        (("--out", "out", "--upload", "copy"), "expected a URL such as s3://bucket/corpus"),
        (("--out", "s3:/b/c"), "s3:/b/c is a URL, and this must be a path of this machine"),
        (("--out", "s3://b/c", "--engine", "slurm"), "the jobs build later: submit with --out DIR"),
    ],
)
def test_what_does_not_go_together_is_told(
    raw: Path, words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = medshards("build", "drive", "--raw", raw, *words)
    assert refused.exit_code == 2
    assert told in " ".join(refused.output.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
