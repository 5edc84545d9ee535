"""Text of catalogs, which may be anybody's, made fit for Markdown."""

from __future__ import annotations

import re
from urllib.parse import quote

from medshards.common.text import printable

MARK = "Written by `medshards build`, which writes it anew each time; do not edit."


def markdown(text: str) -> str:
    """`text` on one line, in which nothing is markup."""
    plain = printable(" ".join(text.split()))
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", plain)


def link(url: str) -> str:
    """An address as a link, with no character that would end it."""
    return f"<{quote(url, safe=':/?#@!$&()*+,;=~%')}>"
