"""Kaggle and Google Drive through stand-ins of kagglehub and gdown: no network is needed."""

import hashlib
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from medshards.cli import cli
from medshards.curate.catalog.accounts import kaggle_of
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom

Pretend = Callable[..., None]
SCAN = b"scan"
OWN = """\
mine:
  title: Mine
  modality: Test
  role: train
  homepage: https://example.org
  access: {{kind: open, how: ask me}}
  licence: {{name: CC0, spdx: CC0-1.0, redistribution: "yes", commercial: "yes", certainty: stated}}
  citation: {{text: Nobody}}
  archives: [{archives}]
  instances: merged
  official: {{}}
  group: none
  verified: "yes"
"""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """pretend(package, function=…): a package of that name is installed."""

    def install(name: str, **functions: Callable[..., object]) -> None:
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        for key, value in functions.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)

    return install


@pytest.fixture(autouse=True)
def _not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has, nothing counts as installed but what a test pretends."""
    for name in ("kagglehub", "gdown"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("medshards.curate.catalog.download.installed", lambda name: name in sys.modules)


def written(url: str, output: str, **_: object) -> str:
    """Stands in for gdown.download, which takes a file that is there for the whole one."""
    if not Path(output).is_file():
        Path(output).write_bytes(SCAN)
    return output


def run(*words: str) -> Result:
    result = CliRunner().invoke(cli, ["download", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def test_the_catalogs_kaggle_pages_are_known_by_their_handles() -> None:
    handles = {slug: kaggle_of(entry) for slug, entry in load_catalog().items()}
    assert handles["covid_qu_ex"] == ("datasets", "anasmohammedtahir/covidqu")
    assert handles["us_nerve"] == ("competitions", "ultrasound-nerve-segmentation")
    assert handles["busi"] is None


def test_a_kaggle_dataset_comes_with_the_users_account(pretend: Pretend, tmp_path: Path) -> None:
    asked = []

    def dataset_download(handle: str, output_dir: str) -> str:
        asked.append(handle)
        write_phantom("cholecseg8k", Path(output_dir))
        return output_dir

    pretend("kagglehub", dataset_download=dataset_download)
    done = run("cholecseg8k", "--raw", str(tmp_path / "raw"))
    assert done.exit_code == 0, done.output
    assert asked == ["newslab/cholecseg8k"]
    facts = json.loads((tmp_path / "raw/cholecseg8k.download.json").read_text())
    assert [row["file"] for row in facts["files"]] == ["kaggle:newslab/cholecseg8k"]
    built = CliRunner().invoke(
        cli, ["build", "cholecseg8k", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]
    )
    assert built.exit_code == 0, built.output


def test_what_kaggle_refuses_is_said_with_what_to_do(pretend: Pretend, tmp_path: Path) -> None:
    def competition_download(handle: str, output_dir: str) -> str:
        raise RuntimeError("403 Client Error.\n\nYou don't have permission")

    pretend("kagglehub", competition_download=competition_download)
    done = run("us_nerve", "--raw", str(tmp_path))
    assert done.exit_code == 1
    assert "403 Client Error. You don't have permission" in done.output
    assert "accept the rules" in done.output
    assert not (tmp_path / "us_nerve").exists()


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    done = run("cholecseg8k", "--raw", str(tmp_path))
    assert done.exit_code == 1
    assert "pip install 'medshards[download]'" in done.output


def test_a_file_of_google_drive_is_fetched_and_checked(pretend: Pretend, tmp_path: Path) -> None:
    def download(url: str, output: str, quiet: bool, resume: bool, progress: Callable[..., None]) -> str:
        assert (url, resume) == ("https://drive.google.com/file/d/abc/view", True)
        progress(len(SCAN), len(SCAN))
        return written(url, output)

    pretend("gdown", download=download)
    for digest, status in [("0" * 64, 1), (hashlib.sha256(SCAN).hexdigest(), 0)]:
        archive = f"{{file: a.nii, url: 'https://drive.google.com/file/d/abc/view', sha256: '{digest}'}}"
        (tmp_path / "mine.yaml").write_text(OWN.format(archives=archive))
        done = run("mine", "--raw", str(tmp_path / "raw"), "--catalog", str(tmp_path / "mine.yaml"))
        assert done.exit_code == status, done.output
        assert (tmp_path / "raw/mine/a.nii").exists() == (status == 0)
    assert (tmp_path / "raw/mine/a.nii").read_bytes() == SCAN


def test_one_file_without_an_address_does_not_hold_back_the_rest(pretend: Pretend, tmp_path: Path) -> None:
    pretend("gdown", download=written)
    archives = "{file: a.nii, url: 'https://drive.google.com/file/d/abc/view'}, {file: table.csv}"
    (tmp_path / "mine.yaml").write_text(OWN.format(archives=archives))
    done = run("mine", "--raw", str(tmp_path / "raw"), "--catalog", str(tmp_path / "mine.yaml"))
    assert done.exit_code == 1
    assert (tmp_path / "raw/mine/a.nii").read_bytes() == SCAN
    assert "still to fetch: no direct link to table.csv is known" in done.output


def test_all_fetches_what_it_can_and_names_the_rest(
    pretend: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("gdown", download=written)
    one = OWN.format(archives="{file: a.nii, url: 'https://drive.google.com/file/d/abc/view'}")
    two = OWN.replace("mine:", "theirs:").replace("kind: open", "kind: request").format(archives="")
    (tmp_path / "both.yaml").write_text(one + two)
    load = load_catalog
    monkeypatch.setattr("medshards.curate.cli.download.load_catalog", lambda extra: load(extra[0]))
    words = ("--all", "--raw", str(tmp_path / "raw"), "--catalog", str(tmp_path / "both.yaml"))
    for said in ("unpacked into", "is there already"):
        done = run(*words)
        assert done.exit_code == 0, done.output
        assert said in done.output
        assert "theirs: the data has to be requested" in done.output
