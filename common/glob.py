"""Patterns of paths.

`*` and `?` stay within one name, `**/` stands for any folders, `[0-9]+` for one digit or more, `{train,test}` for one
of these words.
"""

from __future__ import annotations

import re
from functools import lru_cache

SPECIAL = re.compile(r"(\*\*/|\*|\?|\[[^]]+\]\+?|\{[^}]+\})")  # in a pattern: not taken literally


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern; a path is one that it matches whole."""
    return re.compile(glob_regex(pattern), re.DOTALL)


def glob_regex(pattern: str) -> str:
    """The regular expression, without groups, of a pattern."""
    special = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}

    def translate(part: str) -> str:
        if part.startswith("{"):
            return f"(?:{'|'.join(map(re.escape, part[1:-1].split(',')))})"
        return special.get(part, part if part.startswith("[") else re.escape(part))

    return "".join(map(translate, SPECIAL.split(pattern)))


def readable(pattern: str) -> str:
    """A pattern for a person: a long run of one class of characters is shown as `*`."""
    return re.sub(r"(\[[^]]+\])\1{2,}", "*", pattern)
