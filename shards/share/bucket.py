"""A corpus brought to a bucket: what changed is sent, corpus.json goes first and comes last.

While files are exchanged there is no corpus at the URL, and each dataset that changes has no manifest, so nobody ever
reads half of one; an interrupted upload is completed by the next from the same folder. Uploads to one URL come one
after the other, where the store knows conditional writes, as S3 does.
"""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from medshards.common.console import say
from medshards.common.files import locked, write_atomically
from medshards.curate.sample import Reject
from medshards.shards.build.manifest import CORPUS, LOCK, MANIFEST
from medshards.shards.read.storage import Bucket, persist
from medshards.shards.share.parts import Parts, listed_there, parts_of

THERE = (
    ".work/corpus.there"  # folder for what the corpus in the bucket consists of: corpus.json and manifests
)
HEAD = re.compile(rf"{re.escape(CORPUS)}|[a-z0-9_]+/{re.escape(MANIFEST)}")
ASK = 5.0  # s after which it is asked again whether another upload has ended

Progress = Callable[[str, int, int], None]


class Uploaded(NamedTuple):
    """What was sent and what was removed."""

    files: int
    bytes: int
    removed: int


def upload(out: Path, url: str, progress: Progress = lambda stage, done, total: None) -> Uploaded:
    """Bring the corpus at ``url`` to the state of the one at ``out``.

    Nothing is removed there but what the manifests there list. Raises Reject when there is no whole corpus at ``out``,
    OSError (StoreError) when the bucket cannot be written.
    """
    with locked(out / LOCK):  # nothing is published meanwhile
        parts = parts_of(out)
        with _alone(out, url) as bucket:
            return _exchange(bucket, parts, lambda name: out / name, progress)


def add(
    out: Path,
    url: str,
    slugs: Sequence[str],
    seal: Callable[[Path], object],
    progress: Progress = lambda stage, done, total: None,
) -> Uploaded:
    """Bring these datasets of the corpus at ``out`` to the one at ``url``, whose others stay as they are.

    seal: writes corpus.json and the papers into a folder, from the manifests and the earlier corpus.json that lie
    there. Raises as `upload` does, and Reject when a file of another dataset is not there.
    """
    with locked(out / LOCK), _alone(out, url) as bucket, TemporaryDirectory(prefix="medshards-") as folder:
        there = Path(folder)
        shutil.copytree(look(out, url), there, dirs_exist_ok=True)
        for slug in slugs:
            (there / slug).mkdir(exist_ok=True)
            shutil.copyfile(out / slug / MANIFEST, there / slug / MANIFEST)
        seal(there)

        def place(name: str) -> Path:
            return (out if name.split("/")[0] in slugs else there) / name

        sent = _exchange(bucket, parts_of(there), place, progress)
        for slug in slugs:
            _let_go(bucket, out, slug)
        return sent


@contextmanager
def claimed(out: Path, url: str, slug: str) -> Iterator[None]:
    """Keep builds of a dataset in other folders than ``out`` away from the corpus at ``url`` until this one is added.

    One that was killed is continued from its folder. Raises Reject `locked`, and OSError as `upload` does.
    """
    bucket, claim, name = Bucket(url), _claim(slug), _name(out)
    other = _taken(bucket, claim, name)
    if other not in (None, name):
        what = f"another build is writing {slug} into {url}, from {other}"
        raise Reject("locked", f"{what}; should it never be completed there, remove {url}/{claim}")
    try:
        yield
    finally:
        if other is None:  # otherwise one from this folder may be at work
            _let_go(bucket, out, slug)


def _let_go(bucket: Bucket, out: Path, slug: str) -> None:
    with suppress(FileNotFoundError):
        if _read(bucket, _claim(slug)) == _name(out).encode():
            _remove(bucket, _claim(slug))


def _claim(slug: str) -> str:
    return f".work/{slug}.lock"


def _name(out: Path) -> str:
    """What another machine calls a folder of this one."""
    return f"{socket.gethostname()}:{out.resolve()}"


def look(out: Path, url: str) -> Path:
    """What the corpus at ``url`` consists of, brought into a folder of ``out``: corpus.json and the manifests.

    Where an interrupted upload left no corpus.json there, the last that was seen is kept. Raises as `upload` does.
    """
    bucket, there = Bucket(url), out / THERE
    found = {name for name in persist(bucket.sizes) if HEAD.fullmatch(name)}
    for name in found:
        path = there / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _read(bucket, name))
    for path in there.glob(f"*/{MANIFEST}"):
        if path.relative_to(there).as_posix() not in found:
            path.unlink(missing_ok=True)
    there.mkdir(parents=True, exist_ok=True)
    return there


@contextmanager
def _alone(out: Path, url: str) -> Iterator[Bucket]:
    """The bucket, when no other upload to it is at work or waits to be completed; one from this folder is continued."""
    bucket, name = Bucket(url), _name(out)
    told = False
    while (other := _taken(bucket, LOCK, name)) not in (None, name):  # whose lock in this folder is ours
        if not told:
            say(
                f"waiting for an upload from {other}; should it never be completed there, remove {url}/{LOCK}"
            )
            told = True
        time.sleep(ASK)
    try:
        yield bucket
    except Reject:  # nothing was changed
        _remove(bucket, LOCK)
        raise
    _remove(bucket, LOCK)


def _taken(bucket: Bucket, lock: str, name: str) -> str | None:
    """Who has a lock in the bucket already; None when nobody had it, and `name` has it now."""
    while not persist(lambda: bucket.create(lock, name.encode())):
        try:
            return _read(bucket, lock).decode(errors="replace")
        except FileNotFoundError:  # it has just ended
            continue
    return None


def _exchange(bucket: Bucket, parts: Parts, place: Callable[[str], Path], progress: Progress) -> Uploaded:
    """Make the corpus in the bucket consist of these parts; place: where a file of them lies here."""
    there = persist(bucket.sizes)
    held = listed_there(there, lambda name: _read(bucket, name))
    wanted = parts.files
    send = [f for f, facts in wanted.items() if held.get(f) != facts or there.get(f) != facts["bytes"]]
    for name in send:
        if not place(name).is_file():
            slug = name.split("/")[0]
            raise Reject("no_corpus", f"{bucket.url}/{name} is not as its manifest says; build {slug} again")
    changed = {f.split("/")[0] for f in send}
    gone = sorted(set(held) - set(wanted))
    gone += sorted(
        f for f in {f"{f.split('/')[0]}/{MANIFEST}" for f in held} - set(parts.manifests) if f in there
    )
    corpus = place(CORPUS)
    if not send and not gone and CORPUS in there and _read(bucket, CORPUS) == corpus.read_bytes():
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
        _put(bucket, name, place(name))
    return Uploaded(len(order), sum(place(name).stat().st_size for name in order), len(gone))


def _read(bucket: Bucket, name: str) -> bytes:
    return persist(lambda: bucket.read(name))


def _put(bucket: Bucket, name: str, path: Path) -> None:
    persist(lambda: bucket.put(name, path))


def _remove(bucket: Bucket, name: str) -> None:
    persist(lambda: bucket.remove(name))
