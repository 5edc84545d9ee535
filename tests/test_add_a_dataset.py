"""docs/add-a-dataset.md, followed to the letter: in a copy of the tree, and outside of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshards.cli import cli
from tests import command

MAIN = Path(__file__).parents[1]
PAGE = (MAIN / "docs/add-a-dataset.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^\*\*`([^`]+)`\*\*[^\n]*\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
SLUG = "demo_eyes"


def run(tree: Path, folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": str(tree / "src")},
    )


def medshards(tree: Path, folder: Path, *words: str | Path) -> tuple[int, str]:
    done = run(tree, folder, "-m", "medshards", *words)
    return done.returncode, done.stdout + done.stderr


def here(*words: str | Path) -> tuple[int, str]:
    """The same in this process."""
    done = command.medshards(*words)
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of medshards with the files of the page."""
    tree = tmp_path_factory.mktemp("tree")
    leave = shutil.ignore_patterns("__pycache__", "train", "evaluate", "test_*.py")
    for name in ("src", "common", "curate", "vocab", "shards", "tests"):
        shutil.copytree(MAIN / name, tree / name, ignore=leave, symlinks=True)
    for name in ("catalog.yaml", "pyproject.toml", "tests/curate/test_converters.py"):
        shutil.copy(MAIN / name, tree / name)
    shutil.copy(MAIN / "tests/curate/test_identify.py", tree / "tests/curate")
    return tree


@pytest.fixture(scope="module")
def download(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page calls ~/downloads: here the phantom, drawn with another seed."""
    assert len(FILES) == 5
    for name, text in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        with (tree / name).open("a", encoding="utf-8") as file:
            file.write(text)
    raw = tmp_path_factory.mktemp("downloads")
    status, told = medshards(tree, raw, "phantom", SLUG, "--out", raw, "--seed", "5")
    assert status == 0, told
    return raw


def test_inside_the_tree(tree: Path, download: Path, tmp_path: Path) -> None:
    status, told = medshards(tree, tmp_path, "check", SLUG, "--raw", download)
    assert status == 0, told
    assert all(line.startswith("ok ") for line in told.splitlines())
    assert (tmp_path / f"check-{SLUG}.png").is_file()
    tests = [
        f"tests/curate/{name}.py" for name in (f"datasets/test_{SLUG}", "test_converters", "test_identify")
    ]
    tested = run(tree, tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", SLUG)
    assert tested.returncode == 0, tested.stdout
    assert "passed" in tested.stdout
    status, told = medshards(tree, tmp_path, "build", SLUG, "--raw", download, "--out", "corpus")
    assert (status, "4 samples (3 train, 1 val), 7 instances" in told) == (0, True), told
    assert medshards(tree, tmp_path, "verify", "corpus")[1].startswith("clean")


def test_outside_the_tree(download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"catalog.yaml": "my_catalog.yaml", f"curate/datasets/{SLUG}/labels.yaml": "my_labels.yaml"}
    names |= {f"curate/datasets/{SLUG}/converter.py": f"{SLUG}.py"}
    for name, called in names.items():
        (tmp_path / called).write_text(FILES[name], encoding="utf-8")
    own = ["--source", f"{SLUG}.py", "--catalog", "my_catalog.yaml", "--labels", "my_labels.yaml"]
    status, told = here("check", SLUG, "--raw", download, *own)
    assert status == 0, told
    assert (tmp_path / f"check-{SLUG}.png").is_file()
    status, told = here("inspect", SLUG, "--raw", download, *own)
    assert (status, "4 cases: 4 samples, 7 instances" in told) == (0, True), told
    build: list[str | Path] = ["build", SLUG, "--raw", download, "--out", "corpus", *own]
    status, told = here(*build, "--workers", "2")
    assert (status, "4 samples (3 train, 1 val), 7 instances" in told) == (0, True), told
    assert "up to date" in here(*build)[1]
    assert here("verify", "corpus")[1].startswith("clean")
    assert SLUG in here("stats", "corpus")[1]
    with (tmp_path / f"{SLUG}.py").open("a") as file:
        file.write("# changed\n")
    assert (
        "up to date" not in medshards(MAIN, tmp_path, *build)[1]
    )  # a process of its own: this one knows the code


def test_every_missing_piece_is_one_line_that_says_what_to_do() -> None:
    result = CliRunner().invoke(cli, ["check", SLUG])
    status, told = result.exit_code, result.output
    assert status == 1
    for piece in (
        "catalog.yaml",
        f"curate/datasets/{SLUG}/labels.yaml",
        f"curate/datasets/{SLUG}/converter.py",
        f"curate/datasets/{SLUG}/phantom.py",
        f"test_{SLUG}.py",
    ):
        (line,) = [line for line in told.splitlines() if piece in line]
        assert line.startswith("to do")
        assert "write" in line


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            f"{SLUG}.py",
            'slug = "demo_eyes"',
            'slug = "other"',
            "holds the converter of 'other', expected that of 'demo_eyes'",
        ),
        (f"{SLUG}.py", "def disc_and_cup", "def disc_and_cup(", "cannot be imported: SyntaxError"),
        (
            f"{SLUG}.py",
            "DemoEyes/images",
            "Others/images",
            "not_recognised: looked for DemoEyes.zip: Others/images",
        ),
        (
            f"{SLUG}.py",
            "values > 0",
            "values > 1 / 0",
            "ZeroDivisionError: division by zero; load must raise a Reject",
        ),
        ("my_labels.yaml", "optic_cup", "optic_cap", "optic_cup"),
        ("my_labels.yaml", "value: 2", "value: 3", "unknown_label: pixel values 2 ("),
        ("my_catalog.yaml", "instances: native", "instances: all", "instances"),
    ],
)
def test_what_is_wrong_is_told(
    download: Path, tmp_path: Path, file: str, old: str, new: str, expected: str
) -> None:
    names = {"my_catalog.yaml": "catalog.yaml", "my_labels.yaml": f"curate/datasets/{SLUG}/labels.yaml"}
    for own, name in (names | {f"{SLUG}.py": f"curate/datasets/{SLUG}/converter.py"}).items():
        text = FILES[name]
        assert own != file or old in text
        (tmp_path / own).write_text(text.replace(old, new) if own == file else text)
    options = {"--source": f"{SLUG}.py", "--catalog": "my_catalog.yaml", "--labels": "my_labels.yaml"}
    words = [word for option, name in options.items() for word in (option, str(tmp_path / name))]
    picture = str(tmp_path / "picture.png")
    result = CliRunner().invoke(cli, ["check", SLUG, "--raw", str(download), "--picture", picture, *words])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), "not a crash"
    assert expected in result.output
