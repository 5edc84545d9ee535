"""A corpus brought to a bucket: what changed is sent, corpus.json goes first and comes last.

While files are exchanged there is no corpus at the URL, and each dataset that changes has no manifest, so nobody ever
reads half of one; an interrupted upload is completed by the next.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medshards.shards.build.manifest import CORPUS, MANIFEST
from medshards.shards.read.storage import Bucket, persist
from medshards.shards.share.parts import listed_there, parts_of


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
    bucket, parts = Bucket(url), parts_of(out)
    there = persist(bucket.sizes)
    held = listed_there(there, lambda name: _read(bucket, name))
    wanted = parts.files
    send = [f for f, facts in wanted.items() if held.get(f) != facts or there.get(f) != facts["bytes"]]
    changed = {f.split("/")[0] for f in send}
    gone = sorted(set(held) - set(wanted))
    gone += sorted(
        f for f in {f"{f.split('/')[0]}/{MANIFEST}" for f in held} - set(parts.manifests) if f in there
    )
    if not send and not gone and CORPUS in there and _read(bucket, CORPUS) == (out / CORPUS).read_bytes():
        return Uploaded(0, 0, 0)
    for name in (CORPUS, *(f"{slug}/{MANIFEST}" for slug in sorted(changed))):
        if name in there:
            _remove(bucket, name)
    order = [*send, *parts.manifests, *parts.papers, CORPUS]
    for done, name in enumerate(order):
        progress("upload", done, len(order))
        if name == CORPUS:
            for old in gone:
                _remove(bucket, old)
        _put(bucket, name, out / name)
    return Uploaded(len(order), sum((out / name).stat().st_size for name in order), len(gone))


def _read(bucket: Bucket, name: str) -> bytes:
    return persist(lambda: bucket.read(name))


def _put(bucket: Bucket, name: str, path: Path) -> None:
    persist(lambda: bucket.put(name, path))


def _remove(bucket: Bucket, name: str) -> None:
    persist(lambda: bucket.remove(name))
