"""A corpus on the Hub is whole or not there, comes back as it was, and goes only where its licences let it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

import medshards as package
from medshards.common.files import sha256_file
from medshards.curate.catalog.entry import default_path, load_catalog
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.manifest import dump, own_digest
from medshards.shards.prove.verify import verify
from medshards.vocab.vocabulary import Vocabulary
from tests.command import medshards
from tests.hub import Hub
from tests.shards.conftest import build_phantoms, contents

NAME = "lab/corpus"
ENTRIES = yaml.safe_load(Path(default_path()).read_text(encoding="utf-8"))
FREE = [slug for slug, entry in ENTRIES.items() if entry["licence"]["redistribution"] == "yes"]


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two datasets that may be passed on."""
    return build_phantoms(FREE[:2], tmp_path_factory.mktemp("free"))


def files(corpus: Path) -> dict[str, bytes]:
    """All of a corpus but what is unfinished."""
    return {name: data for name, data in contents(corpus).items() if not name.startswith(".work")}


def there(hub: Hub) -> dict[str, bytes]:
    return {name: data for name, data in hub.dataset(NAME).files.items() if name != ".gitattributes"}


def resealed(corpus: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy with another manifest of the first dataset, whose digests all fit."""
    shutil.copytree(corpus, out)
    path = out / FREE[0] / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_bytes(dump({**manifest, "digest": own_digest(manifest)}))
    facts = json.loads((out / "corpus.json").read_bytes())
    facts["datasets"][FREE[0]]["manifest_sha256"] = sha256_file(path)
    (out / "corpus.json").write_bytes(dump({**facts, "digest": own_digest(facts)}))
    return out


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    return line


def test_a_corpus_goes_there_and_comes_back(free: Path, tmp_path: Path, hub: Hub) -> None:
    out = shutil.copytree(free, tmp_path / "out")
    (out / ".work/packs").mkdir(parents=True)
    (out / ".work/packs/000000.pack").write_bytes(b"unfinished")
    (out / "patients.key").write_text("secret")
    (out / f"{FREE[0]}/names.csv").write_text("p01,somebody")
    told = json.loads(medshards("push", out, NAME, "--json").stdout)
    assert there(hub) == files(free)
    assert hub.dataset(NAME).private
    assert (told["files"], told["commit"]) == (len(files(free)), hub.dataset(NAME).head)

    back = medshards("pull", NAME, tmp_path / "back", "--json")
    assert back.exit_code == 0, back.output
    assert contents(tmp_path / "back") == files(free)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert json.loads(back.stdout)["digest"] == json.loads((free / "corpus.json").read_bytes())["digest"]


def test_it_is_read_there_as_in_a_bucket(free: Path, hub: Hub) -> None:
    assert medshards("push", free, NAME).exit_code == 0
    hub.met.clear()
    there = package.open(f"hf://datasets/{NAME}")
    for sample, here in zip(there, package.open(free), strict=True):
        assert sample.name == here.name
        assert (sample.image == here.image).all()
        assert all((sample.masks[prompt] == here.masks[prompt]).all() for prompt in here.prompts)
    assert hub.met["download"] > len(there)


def test_what_is_there_is_not_sent_again_and_what_is_gone_is_removed(
    free: Path, tmp_path: Path, hub: Hub
) -> None:
    assert medshards("push", free, NAME).exit_code == 0
    hub.dataset(NAME).files["notes.txt"] = b"mine"
    before = hub.dataset(NAME).head
    assert "0 files sent" in medshards("push", free, NAME).output
    assert hub.dataset(NAME).head == before

    fewer = shutil.copytree(free, tmp_path / "fewer")
    shutil.rmtree(fewer / FREE[1])
    write_corpus(fewer, "default", Vocabulary.load().digest, load_catalog())
    sent = hub.met["upload"]
    assert medshards("push", fewer, NAME).exit_code == 0
    assert there(hub) == {**files(fewer), "notes.txt": b"mine"}
    assert hub.met["upload"] == sent  # all large files were there


@pytest.mark.parametrize("kind", ["upload", "batch", "commit"])
def test_nobody_takes_a_half_push_for_a_corpus_and_the_next_completes_it(
    free: Path, tmp_path: Path, hub: Hub, kind: str
) -> None:
    large = sum(name.endswith((".tar", ".parquet", ".png")) for name in files(free))
    reached = {"upload": large // 2, "batch": 2, "commit": 1}[kind]
    hub.failing = lambda what, path: what == kind and hub.met[kind] >= reached
    line = one_line(medshards("push", free, NAME))
    assert f"injected failure of {kind}" in line
    assert there(hub) == {}
    assert "holds no corpus.json" in one_line(medshards("pull", NAME, tmp_path / "back"))
    assert not (tmp_path / "back").exists()

    kept = len(hub.uploads)
    assert kept > 0
    hub.failing = lambda what, path: False
    hub.met.clear()
    assert medshards("push", free, NAME).exit_code == 0
    assert hub.met["upload"] == large - kept
    assert there(hub) == files(free)


def test_an_interrupted_pull_is_no_corpus_and_goes_on(free: Path, tmp_path: Path, hub: Hub) -> None:
    assert medshards("push", free, NAME).exit_code == 0
    whole, back = len(files(free)), tmp_path / "back"
    hub.met.clear()
    hub.failing = lambda what, path: what == "download" and hub.met[what] > whole // 2
    assert "cannot be fetched" in one_line(medshards("pull", NAME, back))
    assert not back.exists()
    assert list(tmp_path.rglob("corpus.json")) == []
    kept = {name for name in contents(tmp_path / ".back.part") if not name.startswith(".cache")}
    assert kept

    hub.failing = lambda what, path: False
    hub.met.clear()
    assert medshards("pull", NAME, back).exit_code == 0
    assert hub.met["download"] == whole - len(kept)
    assert contents(back) == files(free)


def test_what_is_damaged_on_the_way_does_not_become_a_corpus(free: Path, tmp_path: Path, hub: Hub) -> None:
    assert medshards("push", free, NAME).exit_code == 0
    shard = next(name for name in files(free) if name.endswith(".tar"))
    hub.damaged = shard
    assert f"{shard} is not the file that it should be" in one_line(
        medshards("pull", NAME, tmp_path / "back")
    )
    assert not (tmp_path / "back").exists()
    hub.damaged = ""
    assert medshards("pull", NAME, tmp_path / "back").exit_code == 0
    assert verify(tmp_path / "back") == []


def test_a_corpus_that_does_not_verify_does_not_appear(free: Path, tmp_path: Path, hub: Hub) -> None:
    """Every digest fits, and a manifest counts a sample that is not there."""

    def miscount(manifest: dict[str, Any]) -> None:
        manifest["counts"]["samples"] += 1

    assert medshards("push", resealed(free, tmp_path / "out", miscount), NAME).exit_code == 0
    line = one_line(medshards("pull", NAME, tmp_path / "back"))
    assert f"is not clean: {FREE[0]}/manifest.json: counts" in line
    assert not (tmp_path / "back").exists()
    assert not (tmp_path / ".back.part/corpus.json").exists()


def test_a_damaged_corpus_is_not_pushed(free: Path, tmp_path: Path, hub: Hub) -> None:
    out = shutil.copytree(free, tmp_path / "out")
    shard = next(out.rglob("*.tar"))
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    assert f"{shard.name} is missing or not as it was written" in one_line(medshards("push", out, NAME))
    (out / FREE[0] / "manifest.json").write_text("{}")
    assert "manifest.json is damaged" in one_line(medshards("push", out, NAME))
    assert there(hub) == {}


def test_names_that_no_build_writes_are_refused(free: Path, tmp_path: Path, hub: Hub) -> None:
    """A manifest that proves itself and lists a path outside the corpus."""

    def climb(manifest: dict[str, Any]) -> None:
        manifest["files"]["../../escaped"] = manifest["files"]["rejects.jsonl"]

    out = resealed(free, tmp_path / "out", climb)
    assert "which no build writes" in one_line(medshards("push", out, NAME))
    assert medshards("push", free, NAME).exit_code == 0
    for name in ("corpus.json", f"{FREE[0]}/manifest.json"):
        hub.dataset(NAME).files[name] = (out / name).read_bytes()
    hub.dataset(NAME).files[f"{FREE[0]}/../../escaped"] = b"data"
    line = one_line(medshards("pull", NAME, tmp_path / "back"))
    assert "lists '../../escaped', which no build writes" in line
    assert not (tmp_path / "escaped").exists()


def test_licences_decide_what_may_be_pushed(tmp_path: Path, hub: Hub) -> None:
    known = {"no": "", "unknown": ""}
    for slug, entry in ENTRIES.items():
        known[entry["licence"]["redistribution"]] = slug
    mixed = build_phantoms([FREE[0], known["no"], known["unknown"]], tmp_path)
    result = medshards("push", mixed, NAME)
    assert "2 datasets may not be passed on" in one_line(result)
    assert f"{known['no']}: refused: its licence" in result.stderr
    assert f"{known['unknown']}: refused: its licence" in result.stderr
    assert f"{FREE[0]}: refused" not in result.stderr
    result = medshards("push", mixed, NAME, "--allow-unknown")
    assert "1 dataset may not be passed on" in one_line(result)
    assert hub.repos == {}


def test_a_public_repository_must_be_meant(free: Path, hub: Hub) -> None:
    assert medshards("push", free, NAME, "--public").exit_code == 0
    assert not hub.dataset(NAME).private
    assert "is public; push there with --public" in one_line(medshards("push", free, NAME))


def test_a_repository_with_other_things_is_left_alone(free: Path, hub: Hub) -> None:
    assert medshards("push", free, NAME).exit_code == 0
    hub.dataset(NAME).commit({"README.md": b"somebody's"})
    assert "holds README.md, and no corpus" in one_line(medshards("push", free, NAME))
    assert hub.dataset(NAME).files == {"README.md": b"somebody's"}


def test_what_is_not_there_and_who_may_not(
    free: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no dataset or model lab/other" in one_line(medshards("pull", "lab/other", tmp_path / "back"))
    assert "no name of a repository" in one_line(medshards("push", free, "a/b/c"))
    assert medshards("push", free, NAME).exit_code == 0
    line = one_line(medshards("pull", NAME, tmp_path / "back", "--revision", "nowhere"))
    assert "dataset lab/corpus has no revision nowhere" in line
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    assert "is not empty" in one_line(medshards("pull", NAME, tmp_path / "full"))
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "hf auth login" in one_line(medshards("push", free, "lab/new"))
