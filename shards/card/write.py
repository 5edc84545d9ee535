"""The papers of a corpus: README.md, ATTRIBUTION.md, citations.bib and croissant.json, written from its manifests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from medshards.common.files import write_atomically
from medshards.shards.build.manifest import FileFacts
from medshards.shards.card.attribution import attribution, bibliography
from medshards.shards.card.contents import Contents
from medshards.shards.card.croissant import croissant
from medshards.shards.card.readme import readme


def papers(contents: Contents) -> dict[str, bytes]:
    """Content of each paper by name; croissant.json, which describes the others, is the last."""
    texts = {
        "ATTRIBUTION.md": attribution(contents.about),
        "README.md": readme(contents),
        "citations.bib": bibliography(contents.about),
    }
    data = {name: text.encode() for name, text in texts.items()}
    return {**data, "croissant.json": croissant(contents, facts_of(data))}


def facts_of(data: dict[str, bytes]) -> dict[str, FileFacts]:
    """Bytes and SHA-256 of files by name."""
    return {
        name: {"bytes": len(each), "sha256": hashlib.sha256(each).hexdigest()} for name, each in data.items()
    }


def write_papers(out: Path, contents: Contents) -> dict[str, FileFacts]:
    """Write those that are not there as they should be; returns bytes and SHA-256 of all by name."""
    data = papers(contents)
    for name, each in data.items():
        path = out / name
        if not path.is_file() or path.read_bytes() != each:
            write_atomically(path, each)
    return facts_of(data)
