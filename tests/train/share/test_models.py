"""A model on the Hub is whole or not there, and no export goes without the names of those whose data it learnt from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from medshards.evaluate.open import folder_digest
from medshards.train.run.checkpoint import check, find
from tests.command import medshards
from tests.hub import Hub

NAME = "lab/model"


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint and both exports."""
    out = tmp_path_factory.mktemp("trained") / "run"
    words = [
        "--config",
        "tiny",
        "--steps",
        "2",
        "--set",
        "run.overlays=0",
        "--export",
        "hf",
        "--export",
        "official",
    ]
    result = medshards("train", "--data", corpus, "--out", out, *words)
    assert result.exit_code == 0, result.output
    return out


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    return line


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_checkpoint_goes_there_and_comes_back(run: Path, tmp_path: Path, hub: Hub) -> None:
    assert medshards("push", run, NAME).exit_code == 0
    assert hub.model(NAME).private
    told = json.loads(medshards("pull", NAME, tmp_path / "back", "--json").stdout)
    assert (told["type"], told["commit"]) == ("model", hub.model(NAME).head)
    assert folder_digest(tmp_path / "back") == folder_digest(find(run))
    assert check(tmp_path / "back").step == 2
    assert "0 files sent" in medshards("push", run, NAME).output


def test_a_checkpoint_is_not_published(run: Path, hub: Hub) -> None:
    assert "publish an export" in one_line(medshards("push", run, NAME, "--public"))
    assert hub.repos == {}


@pytest.mark.parametrize("form", ["export/hf", "export"])
def test_an_export_goes_there_and_comes_back(run: Path, tmp_path: Path, hub: Hub, form: str) -> None:
    assert medshards("push", run / form, NAME, "--public").exit_code == 0
    assert not hub.model(NAME).private
    assert medshards("pull", NAME, tmp_path / "back").exit_code == 0
    assert names(tmp_path / "back") == names(run / form) == hub.model(NAME).files.keys() - {".gitattributes"}
    assert all(
        (tmp_path / "back" / n).read_bytes() == (run / form / n).read_bytes() for n in names(run / form)
    )


def test_an_export_takes_the_place_of_a_checkpoint(run: Path, hub: Hub) -> None:
    assert medshards("push", run, NAME).exit_code == 0
    hub.model(NAME).files["notes.txt"] = b"mine"
    assert medshards("push", run / "export/hf", NAME).exit_code == 0
    assert hub.model(NAME).files.keys() == names(run / "export/hf") | {"notes.txt", ".gitattributes"}


def test_a_half_push_is_not_there_and_a_half_pull_is_no_model(run: Path, tmp_path: Path, hub: Hub) -> None:
    hub.failing = lambda kind, path: kind == "commit"
    assert "injected failure of commit" in one_line(medshards("push", run, NAME))
    assert "holds no model" in one_line(medshards("pull", NAME, tmp_path / "back"))
    hub.failing = lambda kind, path: kind == "download" and path.endswith("state.json")
    sent = hub.met["upload"]
    assert medshards("push", run, NAME).exit_code == 0
    assert hub.met["upload"] == sent
    assert "state.json cannot be fetched" in one_line(medshards("pull", NAME, tmp_path / "back"))
    assert not (tmp_path / "back").exists()
    hub.failing = lambda kind, path: False
    hub.met.clear()
    assert medshards("pull", NAME, tmp_path / "back").exit_code == 0
    assert hub.met["download"] == 1
    assert check(tmp_path / "back").step == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda folder: (folder / "ATTRIBUTION.md").unlink(),
            "has no ATTRIBUTION.md, which must go with a model",
        ),
        (
            lambda folder: (folder / "patients.key").write_text("secret"),
            "patients.key is no part of an export",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds nothing to push"),
    ],
    ids=["attribution", "key", "weights"],
)
def test_what_is_no_export_is_refused(
    run: Path, tmp_path: Path, hub: Hub, change: Callable[[Path], object], words: str
) -> None:
    folder = shutil.copytree(run / "export/hf", tmp_path / "hf")
    change(folder)
    assert words in one_line(medshards("push", folder, NAME))
    assert hub.repos == {}


def test_a_damaged_checkpoint_is_not_pushed(run: Path, tmp_path: Path, hub: Hub) -> None:
    folder = shutil.copytree(find(run), tmp_path / "checkpoint")
    next(folder.glob("*.safetensors")).write_bytes(b"")
    assert "is damaged" in one_line(medshards("push", folder, NAME))
    assert hub.repos == {}
