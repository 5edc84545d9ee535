"""A corpus bound to a use: which datasets may go into it, and which that are in it may not stay.

corpus.json keeps what a corpus was bound to, so a later build is bound by it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medshards.curate.catalog.entry import Entry, Licence
from medshards.curate.catalog.terms import Terms
from medshards.shards.build.manifest import CorpusFacts, proven_corpus


def bound(corpus: CorpusFacts | None) -> Terms | None:
    """What a corpus is bound to, as its corpus.json says; None: to nothing."""
    facts = corpus.get("terms") if corpus is not None else None
    return None if facts is None else Terms(facts["use"], facts["allow_unknown"])


def objections(out: Path, entries: Iterable[Entry], terms: Terms) -> tuple[dict[str, str], dict[str, str]]:
    """Why datasets must stay out under these terms, by slug: those of the entries, and those in the corpus at `out`."""
    wanted = {entry.slug: entry.licence for entry in entries}
    corpus = proven_corpus(out)
    told = {slug: facts["about"] for slug, facts in corpus["datasets"].items()} if corpus is not None else {}
    held = {slug: Licence.model_validate(dict(about["licence"])) for slug, about in told.items()}
    held |= {
        slug: licence for slug, licence in wanted.items() if slug in held
    }  # the catalog may know better now
    return _objections(wanted, terms), _objections(held, terms)


def _objections(licences: dict[str, Licence], terms: Terms) -> dict[str, str]:
    found = {slug: terms.objection(licence) for slug, licence in licences.items()}
    return {slug: why for slug, why in found.items() if why is not None}
