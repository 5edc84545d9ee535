"""Text that comes from data, made fit to be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` on one line: control characters (a newline in a file name) are shown as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
