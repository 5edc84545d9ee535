"""The wheel: nothing but `medshards` in site-packages, beside a package `evaluate`, among scripts named like rooms."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    done = subprocess.run([*pip, "--wheel-dir", folder, ROOT], capture_output=True, text=True, timeout=300)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("the build backend cannot be fetched: no package index in reach")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"medshards"}
    rooms = [path for path in (ROOT / "src/medshards").iterdir() if path.is_symlink() and path.is_dir()]
    files = [
        file
        for room in rooms
        for file in room.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    files += (ROOT / "src/medshards").glob("*.py")
    assert {file.relative_to(ROOT / "src").as_posix() for file in files} <= set(names)
    assert {"medshards/catalog.yaml", "medshards/py.typed"} <= set(names)


def test_it_works_beside_a_package_and_scripts_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """A fresh environment that sees this one's libraries, but not this checkout."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    place = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    # A path line in a .pth file adds a folder without reading the .pth files in it: not the editable install.
    (place / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    other = place / "evaluate/__init__.py"
    other.parent.mkdir()
    other.write_text("def load(name):\n    return name\n")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    work = tmp_path / "work"
    work.mkdir()
    for name in ("train", "evaluate", "shards", "vocab", "curate", "common"):
        (work / f"{name}.py").write_text("raise SystemExit('the script of the user was imported')\n")
    medshards: list[str | Path] = [python, "-m", "medshards"]
    where = run(python, "-c", "import medshards; print(medshards.__file__)", cwd=work)
    assert Path(where.strip()).is_relative_to(place)
    run(*medshards, "phantom", "ravir", "--out", "raw", cwd=work)
    run(*medshards, "build", "ravir", "--raw", "raw", "--out", "corpus", cwd=work)
    assert run(*medshards, "verify", "corpus", cwd=work).startswith("clean")
    trained = ["train", "--data", "corpus", "--out", "run", "--config", "tiny", "--steps", "1"]
    run(
        python,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=1",
        "--master-port=0",
        "-m",
        "medshards",
        *trained,
        cwd=work,
    )
    assert list((work / "run/checkpoints").glob("step-*"))
    (work / "evaluate.py").unlink()
    assert run(python, "-c", "import evaluate; print(evaluate.load('dice'))", cwd=work) == "dice\n"
