"""Text from data made fit to be shown, names that were meant, and words of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def printable(text: str) -> str:
    """`text` on one line: control characters (a newline in a file name) are shown as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def in_words(error: BaseException) -> str:
    """Kind and words of an error that a library raised, in one line, without what it holds: that of text which is no
    UTF-8 holds the whole file."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def counted(number: int, what: str) -> str:
    """'1 dataset', '2 datasets'."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def near(name: str, known: Iterable[str]) -> str:
    """'; did you mean …?' with up to three of the known names, or nothing.

    Case, blanks, hyphens and underscores do not count; alike names come first, then those of which one holds the other.
    """
    folded = {_folded(other): other for other in known}
    word = _folded(name)
    alike = difflib.get_close_matches(word, folded, n=3, cutoff=0.6)
    alike += [other for other in folded if len(word) > 2 < len(other) and (word in other or other in word)]
    meant = [repr(folded[other]) for other in dict.fromkeys(alike)][:3]
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _folded(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def comma_separated(texts: Iterable[str]) -> list[str]:
    """Words that were given one by one or with commas between them."""
    return [word for text in texts for word in text.split(",") if word]
