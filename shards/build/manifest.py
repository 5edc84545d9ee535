"""manifest.json of a dataset and corpus.json of a corpus: what is there, with the digest of every file.

The chain of proof: corpus.json holds its own digest and that of every manifest, a manifest those of every
other file of its dataset. All are canonical JSON: other bytes with the same meaning are a difference too.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medshards.common.files import sha256_file, write_atomically

MANIFEST, CORPUS, REJECTS = "manifest.json", "corpus.json", "rejects.jsonl"
SCHEMA = 1  # of manifests, corpus.json and the two tables


def tool_version() -> str:
    """Version of medshards."""
    try:
        return version("medshards")
    except PackageNotFoundError:
        return "0.0.0+source"


def dump(value: Any) -> bytes:
    """Canonical JSON for files that people read too: keys sorted, indented by one blank."""
    return (json.dumps(value, sort_keys=True, ensure_ascii=True, indent=1, allow_nan=False) + "\n").encode()


def corpus_digest(corpus: dict[str, Any]) -> str:
    """Digest of a corpus: of corpus.json without this field."""
    return hashlib.sha256(dump({k: v for k, v in corpus.items() if k != "digest"})).hexdigest()


def read_corpus(out: Path) -> dict[str, Any] | None:
    """corpus.json of a corpus, None when there is none. Raises ValueError when it is no JSON."""
    path = out / CORPUS
    return json.loads(path.read_bytes()) if path.exists() else None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """manifest.json of a dataset's folder, None when there is none. Raises ValueError when it is no JSON."""
    path = folder / MANIFEST
    return json.loads(path.read_bytes()) if path.exists() else None


def write_corpus(out: Path, profile: str, vocabulary: str) -> dict[str, Any]:
    """Write corpus.json from the manifests that are there."""
    datasets = {}
    for path in sorted(out.glob(f"*/{MANIFEST}")):
        manifest = json.loads(path.read_bytes())
        datasets[path.parent.name] = {
            "manifest_sha256": sha256_file(path),
            "samples": manifest["counts"]["samples"],
        }
    corpus: dict[str, Any] = {
        "schema": SCHEMA,
        "tool": tool_version(),
        "profile": profile,
        "vocabulary": vocabulary,
        "datasets": datasets,
    }
    corpus["digest"] = corpus_digest(corpus)
    write_atomically(out / CORPUS, dump(corpus))
    return corpus
