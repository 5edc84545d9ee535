"""manifest.json of a dataset and corpus.json of a corpus: what is there, with the digest of every file.

The chain of proof: corpus.json holds its own digest and that of every manifest, a manifest its own and those of
every other file of its dataset. All are canonical JSON: other bytes with the same meaning are a difference too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from medshards.curate.catalog.terms import Use
from medshards.shards.card.about import About

MANIFEST, CORPUS, REJECTS, PICTURE = "manifest.json", "corpus.json", "rejects.jsonl", "samples.png"
PAPERS = ("ATTRIBUTION.md", "README.md", "citations.bib", "croissant.json")  # of a corpus, beside corpus.json
LOCK = ".work/corpus.lock"  # held while a dataset is put in place and corpus.json is written
SCHEMA = 1  # of manifests, corpus.json and the two tables


class FileFacts(TypedDict):
    """A file of a dataset beside its manifest."""

    bytes: int
    sha256: str


class ShardFacts(FileFacts):
    """A shard: its path below the dataset's folder, its split and number of samples."""

    file: str
    split: str
    samples: int


class CaseCounts(TypedDict):
    """Cases of a download, and what was left out of them, by reason."""

    cases: int
    skipped: dict[str, int]


class Counts(CaseCounts):
    """What a dataset holds; rejects by code, lost by what was lost.

    members: files of samples by suffix. extra: records by the fields that the converter adds to them.
    """

    samples: int
    train: int
    val: int
    test: int
    instances: int
    rejects: dict[str, int]
    lost: dict[str, int]
    members: dict[str, int]
    extra: dict[str, int]


class SplitFacts(TypedDict):
    """How samples come to splits and shards. moved: split of each group that was moved afterwards."""

    seed: int
    val_fraction: float
    shard_bytes: int
    moved: dict[str, str]


class Decided(TypedDict):
    """What decides a dataset: code, policy, inputs (a digest of all input keys).

    partly_skipped: what was left out of a case that gave samples, by reason.
    """

    schema: int
    dataset: str
    tool: str
    code: dict[str, str]
    assembly: dict[str, str]
    policy: dict[str, Any]
    split: SplitFacts
    inputs: str
    layouts: list[str]
    partly_skipped: dict[str, dict[str, int]]


class Manifest(Decided):
    """Content of manifest.json."""

    counts: Counts
    shards: list[ShardFacts]
    files: dict[str, FileFacts]
    digest: str


class DatasetFacts(TypedDict):
    """What corpus.json says of a dataset."""

    about: About
    manifest_sha256: str
    samples: int


class TermsFacts(TypedDict):
    """What every dataset of a corpus must be usable for (`curate.catalog.terms`)."""

    use: Use
    allow_unknown: bool


class CorpusFacts(TypedDict):
    """Content of corpus.json; vocabulary: its digest; terms: what it is bound to; files: the papers beside it."""

    schema: int
    tool: str
    profile: str
    vocabulary: str
    terms: TermsFacts | None
    datasets: dict[str, DatasetFacts]
    files: dict[str, FileFacts]
    digest: str


def tool_version() -> str:
    """Version of medshards."""
    try:
        return version("medshards")
    except PackageNotFoundError:
        return "0.0.0+source"


def dump(value: Any) -> bytes:
    """Canonical JSON for files that people read too: keys sorted, indented by one blank."""
    return (json.dumps(value, sort_keys=True, ensure_ascii=True, indent=1, allow_nan=False) + "\n").encode()


def own_digest(value: Mapping[str, Any]) -> str:
    """Digest of a manifest or of corpus.json: of all of it but this field."""
    return hashlib.sha256(dump({k: v for k, v in value.items() if k != "digest"})).hexdigest()


def read_corpus(out: Path) -> CorpusFacts | None:
    """corpus.json of a corpus, None when there is none. Raises ValueError when it is no JSON."""
    path = out / CORPUS
    return json.loads(path.read_bytes()) if path.exists() else None


def read_manifest(folder: Path) -> Manifest | None:
    """manifest.json of a dataset's folder, None when there is none. Raises ValueError when it is no JSON."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    found: Manifest = json.loads(path.read_bytes())
    return found


def proven_manifest(folder: Path) -> Manifest | None:
    """manifest.json of a dataset's folder, None when there is none or it is not as it was written."""
    found: Manifest | None = _proven(folder / MANIFEST)
    return found


def proven_corpus(out: Path) -> CorpusFacts | None:
    """corpus.json of a corpus, None when there is none or it is not as it was written."""
    found: CorpusFacts | None = _proven(out / CORPUS)
    return found


def _proven(path: Path) -> Any:
    """The JSON of a file that holds its own digest, None when it is not as it was written."""
    try:
        return whole(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def whole(data: bytes) -> Any:
    """The JSON of a manifest or a corpus.json, None when its bytes are not as they were written."""
    try:
        value = json.loads(data)
        return value if value["digest"] == own_digest(value) and dump(value) == data else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def built_profile(out: Path) -> str | None:
    """The profile a corpus was built with, as corpus.json or else its manifests say; None where none is proven."""
    corpus = proven_corpus(out)
    if corpus is not None and corpus["datasets"]:
        return str(corpus["profile"])
    manifests = (_proven(path) for path in sorted(out.glob(f"*/{MANIFEST}")))
    return next((str(m["policy"]["profile"]) for m in manifests if m is not None), None)


def dataset_files(manifest: Manifest) -> dict[str, FileFacts]:
    """The files of a dataset beside the manifest: their bytes and SHA-256 by name."""
    return {**manifest["files"], **{shard["file"]: shard for shard in manifest["shards"]}}
