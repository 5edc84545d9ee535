"""What a corpus says of each dataset in it, so that it stands for itself: the catalog's facts for its users."""

from __future__ import annotations

from typing import TypedDict

from medshards.curate.catalog.entry import Entry


class LicenceFacts(TypedDict):
    """What may be done with a dataset, and on whose word; docs/catalog.md explains the fields."""

    name: str
    spdx: str | None
    redistribution: str
    commercial: str
    certainty: str
    note: str | None


class CitationFacts(TypedDict):
    """How a dataset is cited."""

    text: str
    doi: str | None


class About(TypedDict):
    """What a dataset is, as its catalog entry says."""

    title: str
    modality: str
    homepage: str
    licence: LicenceFacts
    citation: CitationFacts


def about(entry: Entry) -> About:
    """The facts of a catalog entry that go with the data."""
    licence, citation = entry.licence, entry.citation
    return {
        "title": entry.title,
        "modality": entry.modality,
        "homepage": entry.homepage,
        "licence": {
            "name": licence.name,
            "spdx": licence.spdx,
            "redistribution": licence.redistribution,
            "commercial": licence.commercial,
            "certainty": licence.certainty,
            "note": licence.note,
        },
        "citation": {"text": citation.text, "doi": citation.doi},
    }


def unknown(slug: str) -> About:
    """What is said of a dataset that no catalog names: nothing."""
    return {
        "title": slug,
        "modality": "unknown",
        "homepage": "",
        "licence": {
            "name": "unknown",
            "spdx": None,
            "redistribution": "unknown",
            "commercial": "unknown",
            "certainty": "unverified",
            "note": None,
        },
        "citation": {"text": "unknown", "doi": None},
    }
