"""The modules of a person's own that a converter outside the tree imports, wherever in them it does."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

KNOWN = {*sys.stdlib_module_names, "medshards"}  # decide nothing, or are in every key anyway
INSTALLED = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib"))


def own_modules(code: Path) -> list[Path]:
    """The Python files that `code` imports and these in turn, without it and without installed packages; sorted.

    Of a package every file counts. What Python cannot find counts as absent: importing it will say so.
    """
    found: set[Path] = set()
    queue = [code]
    while queue:
        for name in _names(queue.pop()):
            new = set(_files(name)) - found - {code.resolve()}
            found |= new
            queue += new
    return sorted(found)


def _names(path: Path) -> set[str]:
    """First words of the modules that a file imports; those of its own package come with the package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - KNOWN


def _files(name: str) -> Iterator[Path]:
    spec = PathFinder.find_spec(name)
    if spec is None:
        return
    for folder in map(Path, spec.submodule_search_locations or ()):
        yield from (path.resolve() for path in folder.rglob("*.py") if not _installed(path))
    if spec.origin is not None and spec.origin.endswith(".py") and not _installed(Path(spec.origin)):
        yield Path(spec.origin).resolve()


def _installed(path: Path) -> bool:
    return any(path.resolve().is_relative_to(folder) for folder in INSTALLED)
