"""The key of what is reused holds all the code of the way, because of where it lies, and the libraries' versions."""

import ast
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from medshards.common.spread import spread
from medshards.curate import phantoms
from medshards.curate.source import Own, slugs
from medshards.shards.encode.code import (
    LIBRARIES,
    ROOT,
    TABLES,
    assembling_files,
    assembly,
    code,
    digest_of,
    encoding_files,
)

HARMLESS = {"click", "rich", "yaml", "pydantic", "defusedxml", "medshards"}  # decide no byte of a sample
# imports all that a worker uses for a group of datasets, in a fork for each group, and prints group and files
CLOSURE = """
import os, sys
from pathlib import Path
import medshards.shards.encode.work
from medshards.curate.source import get_source
for group in sys.argv[1:]:
    if os.fork():
        assert os.wait()[1] == 0
        continue
    for slug in group.split(","):
        get_source(slug)
    for name, module in sys.modules.items():
        if name.startswith("medshards.") and getattr(module, "__file__", None):
            print(group, Path(module.__file__).resolve())
    break
"""


def _imported(*groups: str) -> list[set[Path]]:
    """For each group of datasets."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSURE, *groups], capture_output=True, text=True, check=True
    )
    lines = [(group, Path(name)) for group, name in (line.split(" ", 1) for line in done.stdout.splitlines())]
    found = [{path for own, path in lines if own == group and path.stat().st_size > 200} for group in groups]
    assert all(found)
    return found


def test_every_module_that_a_worker_loads_is_in_the_key() -> None:
    some = ("drive", "umd_petct", "btcv", "hc18")
    for slug, loaded in zip(some, _imported(*some)):
        assert loaded <= {path.resolve() for path in encoding_files(slug)}, slug


def test_no_dataset_uses_the_folder_of_another() -> None:
    known = {slug: {path.resolve() for path in encoding_files(slug)} for slug in slugs()}
    (loaded,) = _imported(",".join(slugs()))
    assert loaded <= set.union(*known.values())
    shared = _shared()
    for slug, files in known.items():
        assert {path.parent.name for path in files - shared} == {slug}


def _shared() -> set[Path]:
    first, second = ({p.resolve() for p in encoding_files(slug)} for slug in ("drive", "hc18"))
    return first & second


def test_every_file_of_the_way_changes_the_key(tmp_path: Path) -> None:
    root = tmp_path / "medshards"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    loaded = {path.relative_to(ROOT.resolve().parents[1]) for path in _imported("drive")[0]}
    assert len(loaded) > 20
    files = encoding_files("drive", root=root)
    assert {Path(*path.parts[-2:]) for path in loaded} <= {Path(*path.parts[-2:]) for path in files}
    for listed in (files, assembling_files(root)):
        before = digest_of(listed)
        for path in listed:
            text = path.read_bytes()
            path.write_bytes(text + b"\n# another line")
            assert digest_of(listed) != before, path
            path.write_bytes(text)
        assert digest_of(listed) == before
    (root / "curate" / "a_new_reader.py").write_text("")
    assert digest_of(encoding_files("drive", root=root)) != digest_of(files)


def test_what_only_shows_is_no_part_of_the_key() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in encoding_files("drive")}
    assert not any(name.startswith(("curate/cli", "curate/datasets/busi", "shards/prove")) for name in names)
    assert {"curate/sample.py", "curate/source.py", "shards/encode/record.py", "vocab/reading.py"} <= names


def test_an_own_converter_is_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    assert tmp_path / "mine.py" in encoding_files("mine", Own(tmp_path / "mine.py"))


def test_the_modules_that_an_own_converter_imports_are_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside it, in a package, from one another, within a function; no installed ones."""
    monkeypatch.syspath_prepend(tmp_path / "lib")
    files = {
        "mine.py": "import os, numpy\nfrom colours import RED\ndef load():\n    import shapes.round\n",
        "lib/colours.py": "import names_of_colours, not_there\n",
        "lib/names_of_colours.py": "import colours, mine\n",
        "lib/shapes/__init__.py": "",
        "lib/shapes/round.py": "from . import square",
        "lib/shapes/square.py": "",
        "lib/other.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    listed = set(encoding_files("mine", Own(tmp_path / "mine.py"))) - set(_shared())
    found = {p.relative_to(tmp_path).as_posix() for p in listed if p.is_relative_to(tmp_path)}
    assert found == files.keys() - {"lib/other.py"}
    assert not any("numpy" in path.parts for path in listed)


def test_every_library_of_the_way_has_its_version_in_the_key() -> None:
    names: set[str] = set()
    files = {*assembling_files(), *(path for slug in slugs() for path in encoding_files(slug))}
    for path in (path for path in files if path.suffix == ".py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).split(".")[0])
    distributions = packages_distributions()
    used = {d.lower() for name in names - HARMLESS if name in distributions for d in distributions[name]}
    assert {"numpy", "pillow"} <= used
    unused = used - set(TABLES)
    assert not unused, f"decide bytes and are not in the key: {unused}"
    assert set(code("drive")) - {"files"} <= set(LIBRARIES)
    assert {*code("drive"), "pyarrow"} == set(assembly())


EDITS = ["shards/encode/record.py", "shards/build/split.py"]  # of encoding and of assembling
ALL = [path.relative_to(ROOT).as_posix() for path in (*encoding_files("drive"), *assembling_files())]


def _builds_again(edits: list[str], folder: Path) -> None:
    """Edit one file after the other in a copy of the package, and see each change noticed by a build."""
    shutil.copytree(ROOT, folder / "medshards", ignore=shutil.ignore_patterns("__pycache__"))
    phantoms.write_phantom("drive", folder / "raw" / "drive")
    command = [sys.executable, "-m", "medshards", "build", "drive", "--raw", "raw", "--out", "out"]

    def build() -> str:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        return done.stdout

    build()
    assert "up to date" in build()
    for name in edits:
        with (folder / "medshards" / name).open("a") as stream:
            stream.write("\n# another line\n")
        assert "up to date" not in build(), name
    assert "up to date" in build()


def test_an_edited_module_builds_again(tmp_path: Path) -> None:
    _builds_again(EDITS, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_edited_modules_of_every_chapter_build_again(tmp_path: Path) -> None:
    """That the key changes with each module is shown above; here a process that starts anew sees it."""
    _builds_again(spread([name for name in ALL if name.endswith(".py")], 20), tmp_path)
