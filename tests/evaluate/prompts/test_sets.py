"""Prompt sets beside the shards: the same however they are made, and proved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medshards.evaluate.prompts.cli.prompts import prompts as command
from medshards.evaluate.prompts.prompt import make_prompts
from medshards.evaluate.prompts.sets import build
from medshards.evaluate.prompts.sets.build import Recipe, build_set
from medshards.evaluate.prompts.sets.overlay import read_shard
from medshards.evaluate.prompts.sets.scenes import places
from medshards.evaluate.prompts.sets.verify import verify_set
from medshards.shards.prove.verify import verify
from medshards.shards.read.corpus import Corpus
from medshards.vocab.scenes import impossible
from medshards.vocab.vocabulary import Vocabulary

CORE = Recipe(
    "core", families=("M0-perfect", "M1-grow", "M5-shift", "M7-wobble", "B1-noise", "T5-side", "T6-absent")
)


@pytest.fixture(scope="module")
def made(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("sets")
    return out, build_set(corpus, CORE, out)


def files(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_order_and_workers_do_not_matter(
    corpus: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = places
    monkeypatch.setattr(build, "places", lambda *arguments: forwards(*arguments)[::-1])
    assert build_set(corpus, CORE, tmp_path, workers=4).keys() == made[1].keys()
    assert files(tmp_path) == files(made[0])


def test_other_prompts_of_the_set_do_not_matter(
    corpus: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    build_set(corpus, Recipe("core", families=("M7-wobble",)), tmp_path, ["btcv"])
    alone, together = (
        {
            (key, p.id): p.record
            for path in sorted((out / "btcv").rglob("*.tar"))
            for key, own in read_shard(path)
            for p in own
        }
        for out in (tmp_path, made[0])
    )
    assert len(alone) > 20
    assert all(together[name] == record for name, record in alone.items())


def test_overlays_have_the_keys_of_their_base_shards_in_order(
    corpus: Path, made: tuple[Path, dict[str, Any]]
) -> None:
    for slug, manifest in made[1].items():
        for shard in manifest["shards"]:
            rows = Corpus.open(corpus, shard["base"].partition("/")[0], [slug]).rows(slug)
            base = [
                k
                for k, s in zip(rows["key"].to_pylist(), rows["shard"].to_pylist(), strict=True)
                if s == shard["base"]
            ]
            assert [key for key, _ in read_shard(made[0] / slug / shard["file"])] == base


def test_the_manifest_counts_every_prompt(made: tuple[Path, dict[str, Any]]) -> None:
    for slug, manifest in made[1].items():
        counts = [
            n for c in manifest["counts"].values() for f in c.values() for s in f.values() for n in s.values()
        ]
        prompts = [
            p for s in manifest["shards"] for _, own in read_shard(made[0] / slug / s["file"]) for p in own
        ]
        assert sum(counts) == len(prompts) == manifest["prompts"] > 0


def test_every_flipped_bit_is_found_and_named(
    corpus: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    assert verify_set(corpus, "kvasir_seg", "core", tmp_path) == []
    path = next(iter(sorted((tmp_path / "kvasir_seg").rglob("*.tar"))))
    whole = path.read_bytes()
    for at in range(100, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        faults = verify_set(corpus, "kvasir_seg", "core", tmp_path, rebuild=False)
        assert faults, at
        assert all(path.name in fault.file for fault in faults)


def test_a_flipped_bit_of_a_mask_names_its_prompt(
    corpus: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when whoever flipped it mended every digest of the set."""
    monkeypatch.setattr(build, "make_prompts", spoilt(make_prompts, "polyp/M7-wobble/3/0"))
    build_set(corpus, CORE, tmp_path, ["kvasir_seg"])
    monkeypatch.undo()
    assert verify_set(corpus, "kvasir_seg", "core", tmp_path, rebuild=False) == []
    faults = verify_set(corpus, "kvasir_seg", "core", tmp_path)
    assert faults
    assert all("polyp/M7-wobble/3/0" in fault.prompt for fault in faults)


def spoilt(make: Any, name: str) -> Any:
    from medshards.evaluate.prompts.prompt import digest_of

    def made(*arguments: Any) -> Any:
        for prompt in make(*arguments):
            if prompt.id == name and prompt.bits is not None:
                prompt.bits[0] ^= 16
                prompt.record["digest"] = digest_of(prompt)
            yield prompt

    return made


def test_a_changed_manifest_or_base_is_named(
    corpus: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(made[0], tmp_path / "sets")
    path = tmp_path / "sets" / "btcv" / "prompts-core.json"
    path.write_text(
        path.read_text().replace('"prompts": ', '"prompts":  ').replace("foreground", "background")
    )
    (fault,) = verify_set(corpus, "btcv", "core", tmp_path / "sets", rebuild=False)
    assert "prompts-core.json" in str(fault)


def test_the_texts_of_a_set(made: tuple[Path, dict[str, Any]]) -> None:
    records = [
        p.record
        for path in sorted((made[0] / "btcv").rglob("*.tar"))
        for _, own in read_shard(path)
        for p in own
        if p.record["kind"] == "text"
    ]
    sides = {r["concept"]: r["payload"] for r in records if r["family"] == "T5-side" and not r["unreachable"]}
    assert sides["left_kidney"] == {"text": "right kidney", "concept": "right_kidney"}
    assert "liver" not in sides
    absent = {r["payload"]["text"] for r in records if r["family"] == "T6-absent" and not r["unreachable"]}
    vocabulary = Vocabulary.load()
    assert "gallbladder" in absent  # annotated in one patient, and not there
    assert absent - {"gallbladder"} <= {vocabulary[c].text for c in impossible("btcv")}


def test_a_picture_is_asked_for_what_it_cannot_show(made: tuple[Path, dict[str, Any]]) -> None:
    asked = [
        p.record["payload"]["text"]
        for path in sorted((made[0] / "kvasir_seg").rglob("*.tar"))
        for _, own in read_shard(path)
        for p in own
        if p.record["family"] == "T6-absent"
    ]
    vocabulary = Vocabulary.load()
    assert len(set(asked)) > 3  # not the same three of every picture
    assert set(asked) <= {vocabulary[c].text for c in impossible("kvasir_seg")}


def test_the_commands(corpus: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    shutil.copytree(corpus, tmp_path / "corpus")
    data = str(tmp_path / "corpus")
    result = run(command, ["build", data, "--datasets", "kvasir_seg", "--families", "M1-grow,T1-synonym"])
    assert result.exit_code == 0, result.output
    assert "kvasir_seg: " in result.output
    assert run(command, ["verify", data]).output.startswith("clean: kvasir_seg, set core")
    shown = run(command, ["show", data, "--json"])
    assert json.loads(shown.output)[0]["counts"]["polyp"]["M1-grow"]
    assert all(len(line) <= 80 for line in run(command, ["show", data]).output.splitlines())
    assert "M14-jitter" in run(command, ["show", "--families"]).output
    assert "Harnblase" in run(command, ["show", "--texts"]).output
    assert not verify(tmp_path / "corpus")
    assert files(tmp_path / "corpus") == files(corpus)  # the corpus is left alone
    wrong = run(command, ["build", data, "--families", "M99"])
    assert wrong.exit_code == 2
    assert "M99" in wrong.output
    shard = next((tmp_path / "corpus-prompts").rglob("*.prompts-core.tar"))
    shard.write_bytes(shard.read_bytes()[:-1500])
    broken = run(command, ["verify", data, "--quick"])
    assert broken.exit_code == 1
    assert shard.name in broken.output
