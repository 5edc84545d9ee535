"""A corpus brought to a bucket: what changed is sent, corpus.json goes first and comes last.

While files are exchanged there is no corpus at the URL, and each dataset that changes has no manifest, so nobody ever
reads half of one; an interrupted upload is completed by the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medshards.curate.sample import Reject
from medshards.shards.build.manifest import (
    CORPUS,
    MANIFEST,
    PAPERS,
    FileFacts,
    dataset_files,
    own_digest,
    proven_corpus,
    proven_manifest,
)
from medshards.shards.read.storage import Bucket, persist


class Uploaded(NamedTuple):
    """What was sent and what was removed."""

    files: int
    bytes: int
    removed: int


def upload(
    out: Path, url: str, progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> Uploaded:
    """Bring the corpus at ``url`` to the state of the one at ``out``.

    Nothing is removed there but what the manifests there list. Raises Reject when there is no whole corpus at ``out``,
    OSError (StoreError) when the bucket cannot be written.
    """
    bucket, corpus = Bucket(url), proven_corpus(out)
    if corpus is None:
        raise Reject("no_corpus", f"{out} holds no corpus that could be uploaded; build it first")
    there = persist(bucket.sizes)
    held = _listed(bucket, there)
    wanted: dict[str, FileFacts] = {}
    changed: list[str] = []
    for slug in corpus["datasets"]:
        manifest = proven_manifest(out / slug)
        if manifest is None:
            raise Reject("no_corpus", f"{out / slug / MANIFEST} is damaged; build {slug} again")
        files = {f"{slug}/{name}": facts for name, facts in dataset_files(manifest).items()}
        wanted |= files
        if any(held.get(f) != facts or there.get(f) != facts["bytes"] for f, facts in files.items()):
            changed.append(slug)
    send = [f for f, facts in wanted.items() if held.get(f) != facts or there.get(f) != facts["bytes"]]
    manifests = [f"{slug}/{MANIFEST}" for slug in corpus["datasets"]]
    gone = sorted(set(held) - set(wanted))
    gone += sorted(f for f in {f"{f.split('/')[0]}/{MANIFEST}" for f in held} - set(manifests) if f in there)
    if not send and not gone and CORPUS in there and _read(bucket, CORPUS) == (out / CORPUS).read_bytes():
        return Uploaded(0, 0, 0)
    for name in (CORPUS, *(f"{slug}/{MANIFEST}" for slug in changed)):
        if name in there:
            _remove(bucket, name)
    papers = [name for name in PAPERS if (out / name).is_file()]
    order = [*send, *manifests, *papers, CORPUS]
    for done, name in enumerate(order):
        progress("upload", done, len(order))
        if name == CORPUS:
            for old in gone:
                _remove(bucket, old)
        _put(bucket, name, out / name)
    return Uploaded(len(order), sum((out / name).stat().st_size for name in order), len(gone))


def _listed(bucket: Bucket, there: dict[str, int]) -> dict[str, FileFacts]:
    """The files that the whole manifests at the URL list."""
    found: dict[str, FileFacts] = {}
    for name in there:
        slug, _, file = name.partition("/")
        if file != MANIFEST:
            continue
        try:
            manifest = json.loads(_read(bucket, name))
            if manifest["digest"] == own_digest(manifest) and manifest["dataset"] == slug:
                found |= {f"{slug}/{each}": facts for each, facts in dataset_files(manifest).items()}
        except (ValueError, KeyError, TypeError):
            continue  # what it lists is sent again
    return found


def _read(bucket: Bucket, name: str) -> bytes:
    return persist(lambda: bucket.read(name))


def _put(bucket: Bucket, name: str, path: Path) -> None:
    persist(lambda: bucket.put(name, path))


def _remove(bucket: Bucket, name: str) -> None:
    persist(lambda: bucket.remove(name))
