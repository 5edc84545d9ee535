"""JSON files, checked before use."""

from __future__ import annotations

import json
from typing import Any

from medshards.curate.formats.text import read_text
from medshards.curate.sample import Reject
from medshards.curate.tree import File


def read_object(file: File) -> dict[str, Any]:
    """The object that a JSON file holds (UTF-8, with or without byte order mark).

    Raises Reject (`unreadable`, `lfs_pointer`).
    """
    try:
        value = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise Reject("unreadable", f"is no JSON: {error}", file.name) from error
    if not isinstance(value, dict):
        raise Reject("unreadable", f"holds a {type(value).__name__}; a JSON object is expected", file.name)
    return value
