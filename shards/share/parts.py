"""What a corpus consists of when it goes elsewhere: what its manifests and corpus.json list, and nothing else.

So locks, unfinished work, keys and whatever else lies in the folder stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from medshards.common.files import sha256_file
from medshards.curate.sample import Reject
from medshards.shards.build.manifest import (
    CORPUS,
    MANIFEST,
    PAPERS,
    CorpusFacts,
    FileFacts,
    dataset_files,
    proven_corpus,
    proven_manifest,
    whole,
)
from medshards.shards.build.place import dataset_pattern


class Parts(NamedTuple):
    """A corpus by its files: SHA-256 by path below it; beside them corpus.json, which lists the others.

    files: bytes and SHA-256 of what the manifests list. manifests, papers: what corpus.json lists.
    """

    corpus: CorpusFacts
    files: dict[str, FileFacts]
    manifests: dict[str, str]
    papers: dict[str, str]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every file but corpus.json, in the order in which they are best sent."""
        files = {name: facts["sha256"] for name, facts in self.files.items()}
        return {**files, **self.manifests, **self.papers}


def parts_of(out: Path, corpus: CorpusFacts | None = None) -> Parts:
    """The parts of the corpus at `out`, as its manifests say; only these are compared with their digests.

    corpus: the content of corpus.json where that is not in its place yet. Raises Reject `no_corpus` when there is none,
    or a manifest is missing or another one, or lists what no build writes.
    """
    corpus = corpus or proven_corpus(out)
    if corpus is None:
        raise Reject("no_corpus", f"{out} holds no whole corpus; build it first")
    manifests, papers = listed_in(corpus)
    files: dict[str, FileFacts] = {}
    for slug in corpus["datasets"]:
        name = f"{slug}/{MANIFEST}"
        manifest = proven_manifest(out / slug)
        if manifest is None or sha256_file(out / name) != manifests[name]:
            raise Reject("no_corpus", f"{out / name} is damaged or not that of {CORPUS}; build {slug} again")
        files |= _own(slug, dataset_files(manifest))
    return Parts(corpus, files, manifests, papers)


def listed_in(corpus: CorpusFacts) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 of the manifests and of the papers that a corpus.json lists.

    Raises Reject `no_corpus` when it names what no build writes: it may come from anywhere.
    """
    slugs, papers = corpus["datasets"], corpus.get("files", {})
    strange = [name for name in slugs if not re.fullmatch(r"[a-z0-9_]+", name)] + sorted(
        papers.keys() - set(PAPERS)
    )
    if strange:
        raise Reject("no_corpus", f"{CORPUS} lists {strange[0]!r}, which no build writes")
    manifests = {f"{slug}/{MANIFEST}": facts["manifest_sha256"] for slug, facts in slugs.items()}
    return manifests, {name: facts["sha256"] for name, facts in papers.items()}


def listed_there(names: Iterable[str], read: Callable[[str], bytes]) -> dict[str, FileFacts]:
    """The files that the whole manifests at another place list, which an earlier corpus there consists of.

    names: all files there; read: the content of one.
    """
    found: dict[str, FileFacts] = {}
    for name in names:
        slug, _, file = name.partition("/")
        if file != MANIFEST:
            continue
        manifest = whole(read(name))
        if manifest is not None and manifest["dataset"] == slug:
            found |= _own(slug, dataset_files(manifest))
    return found


def _own(slug: str, files: dict[str, FileFacts]) -> dict[str, Any]:
    """Files of a dataset by path below the corpus; raises Reject when a build would not have written one."""
    pattern = re.compile(dataset_pattern(slug))
    for name in files:
        if not pattern.fullmatch(name):
            raise Reject("no_corpus", f"{slug}/{MANIFEST} lists {name!r}, which no build writes")
    return {f"{slug}/{name}": facts for name, facts in files.items()}
