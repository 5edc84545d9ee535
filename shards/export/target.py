"""Writing an export: files with their folders, JSON, whose data it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medshards.shards.card.about import About
from medshards.shards.card.attribution import attribution, bibliography


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
