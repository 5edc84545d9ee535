"""The walls of the house: what may import what, and how large a file and a folder may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("common", "vocab", "curate", "shards", "train", "evaluate")  # each imports from those before it
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
MOST_LINES = 300
MOST_MODULES = 15
HELPERS = {
    "curate/fuzz"
}  # folders of tests/ that hold no tests, but what tests run; golden/ holds reference numbers


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, at its head or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_command(path: Path) -> bool:
    """Whether a module holds commands of `medshards`."""
    return path.stem == "cli" or path.parent.name == "cli"


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_before_it(room: str) -> None:
    later = {f"medshards.{name}" for name in ROOMS[ROOMS.index(room) + 1 :]} | {
        "medshards.cli",
        "medshards.demo",
    }
    for path in (ROOT / room).rglob("*.py"):
        for name in imported(path):
            assert not any(name == each or name.startswith(f"{each}.") for each in later), (
                f"{named(path)}: {name}"
            )


def test_no_library_module_imports_a_command() -> None:
    for path in (path for path in MODULES if not is_command(path)):
        for name in imported(path):
            words = name.split(".")
            assert words[0] != "medshards" or "cli" not in words[:-1], f"{named(path)}: {name}"


def test_every_import_of_a_room_is_by_the_name_of_the_package() -> None:
    files = [*MODULES, *(ROOT / "src/medshards").glob("*.py"), *(ROOT / "tests").rglob("*.py")]
    for path in [*files, *(ROOT / "benchmarks").glob("*.py")]:
        for name in imported(path):
            assert name.split(".")[0] not in ROOMS, f"{named(path)}: {name}"


def test_the_package_is_the_rooms() -> None:
    links = {path.name: path.resolve() for path in (ROOT / "src/medshards").iterdir() if path.is_symlink()}
    assert links == {name: (ROOT / name).resolve() for name in (*ROOMS, "catalog.yaml")}


def test_files_and_folders_stay_small() -> None:
    for path in MODULES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MOST_LINES, f"{named(path)}: {lines} lines"
    for folder in {path.parent for path in MODULES}:
        modules = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= MOST_MODULES, f"{named(folder)}: {len(modules)} modules"


def test_tests_lie_where_what_they_test_lies() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}
    for folder in {folder.as_posix() for folder in folders if "golden" not in folder.parts} - HELPERS:
        assert (ROOT / folder).is_dir(), f"tests/{folder}: there is no such folder to test"
    for folder in HELPERS:
        assert not list((ROOT / "tests" / folder).glob("test_*.py")), f"tests/{folder} holds tests"
