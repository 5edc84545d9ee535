"""Text files: tables and lists that lie beside the pictures."""

from __future__ import annotations

from medshards.curate.formats.files import read_bytes
from medshards.curate.sample import Reject
from medshards.curate.tree import File


def read_text(file: File) -> str:
    """The text of a file in UTF-8, with or without byte order mark. Raises Reject (`unreadable`, `lfs_pointer`)."""
    try:
        return read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Reject("unreadable", f"is no text in UTF-8: {error}", file.name) from error
