"""Write corpus.json, and the papers that it lists, from the manifests that are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medshards.common.files import leftovers, locked, sha256_file, write_atomically
from medshards.curate.catalog.entry import Entry
from medshards.curate.catalog.terms import Terms
from medshards.shards.build.licences import bound
from medshards.shards.build.manifest import (
    CORPUS,
    LOCK,
    MANIFEST,
    PAPERS,
    SCHEMA,
    CorpusFacts,
    DatasetFacts,
    FileFacts,
    Manifest,
    dump,
    own_digest,
    proven_corpus,
    proven_manifest,
    tool_version,
)
from medshards.shards.build.place import require_own_papers
from medshards.shards.card.about import about, unknown
from medshards.shards.card.contents import Contents
from medshards.shards.card.write import write_papers


def write_corpus(
    out: Path,
    profile: str,
    vocabulary: str,
    catalog: Mapping[str, Entry] | None = None,
    terms: Terms | None = None,
) -> CorpusFacts:
    """Write corpus.json and the papers from the manifests that are there; returns corpus.json.

    A manifest that is not as it was written is no proof: corpus.json says of it what it said before. catalog: what
    the datasets are; of those that are not in it corpus.json says what it said before. terms: what the
    corpus is bound to from now on, None: to what it was. Raises Reject when papers lie there that no build wrote.
    """
    with locked(out / LOCK):
        require_own_papers(out)
        for name in (CORPUS, *PAPERS):
            for leftover in leftovers(out / name):
                leftover.unlink()
        earlier = proven_corpus(out)
        known = earlier["datasets"] if earlier is not None else {}
        terms = terms or bound(earlier)
        datasets: dict[str, DatasetFacts] = {}
        manifests: dict[str, Manifest] = {}
        own: dict[str, FileFacts] = {}
        for path in sorted(out.glob(f"*/{MANIFEST}")):
            slug, manifest = path.parent.name, proven_manifest(path.parent)
            before = known.get(slug)
            if manifest is not None:
                entry = (catalog or {}).get(slug)
                told = about(entry) if entry else before["about"] if before else unknown(slug)
                own[slug] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
                manifests[slug] = manifest
                datasets[slug] = {
                    "about": told,
                    "manifest_sha256": own[slug]["sha256"],
                    "samples": manifest["counts"]["samples"],
                }
            elif before is not None:
                datasets[slug] = before
        facts = {slug: each["about"] for slug, each in datasets.items()}
        contents = Contents(profile, tool_version(), terms, manifests, own, facts)
        corpus: CorpusFacts = {
            "schema": SCHEMA,
            "tool": tool_version(),
            "profile": profile,
            "vocabulary": vocabulary,
            "terms": {"use": terms.use, "allow_unknown": terms.allow_unknown} if terms else None,
            "datasets": datasets,
            "files": write_papers(out, contents),
            "digest": "",
        }
        corpus["digest"] = own_digest(corpus)
        if not (out / CORPUS).exists() or (out / CORPUS).read_bytes() != dump(corpus):
            write_atomically(out / CORPUS, dump(corpus))
    return corpus
