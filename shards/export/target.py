"""Where an export goes: a folder that appears under its name when all of it is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medshards.shards.card.about import About
from medshards.shards.card.attribution import attribution, bibliography


@contextmanager
def appears(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` at the end; what a failed export wrote is removed.

    Raises FileExistsError when something lies there already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not empty; choose another --out, or move it away")
    part = target.with_name(f".{target.name}.part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    try:
        yield part
        if target.exists():
            target.rmdir()
        part.replace(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write(path: Path, data: bytes) -> None:
    """Write a file, and the folders on its way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one line, keys in the order given."""
    write(path, json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n")


def write_terms(folder: Path, about: Mapping[str, About]) -> None:
    """Write whose data it is and on what terms into an export: that goes with the data."""
    write(folder / "ATTRIBUTION.md", attribution(about).encode())
    write(folder / "citations.bib", bibliography(about).encode())
