"""The catalog as cards, and the page of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medshards.curate.catalog.entry import Entry
from medshards.curate.catalog.sheet import figure, sheet_of
from medshards.shards.browse.shelf import Shelf
from medshards.shards.build.manifest import DatasetFacts
from medshards.vocab.concept import VocabularyError
from medshards.vocab.vocabulary import Vocabulary, load_labels

FILTERS = ("modality", "role", "licence", "access", "commercial")


def cards(
    entries: Mapping[str, Entry], shelves: Mapping[str, Shelf], built: Mapping[str, DatasetFacts]
) -> list[dict[str, Any]]:
    """A card a dataset, in the order of the catalog: facts, words to be found by, key of a picture."""
    found = []
    for slug, entry in entries.items():
        printed = entry.paper or entry.official
        concepts = sorted({row["concept"] for row in labels(slug) if row["concept"]})
        found.append(
            {
                "slug": slug,
                "title": entry.title,
                "modality": entry.modality,
                "role": entry.role,
                "access": entry.access.kind,
                "licence": entry.licence.spdx or "other",
                "terms": entry.licence.name,
                "commercial": entry.licence.commercial,
                "images": printed.images,
                "printed": figure(printed.images),
                "annotations": figure(printed.annotations),
                "here": built[slug]["samples"] if slug in built else None,
                "concepts": concepts,
                "words": " ".join([slug, entry.title, entry.modality, entry.licence.name, *concepts]).lower(),
                "picture": shelves[slug].first_with_instances() if slug in shelves else None,
            }
        )
    return found


def choices(found: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The values of each filter: modalities in the order of the catalog, all else sorted."""
    values = {name: sorted({card[name] for card in found}) for name in FILTERS}
    values["modality"] = list(dict.fromkeys(card["modality"] for card in found))
    values["concept"] = sorted({concept for card in found for concept in card["concepts"]})
    return values


def sheet(entry: Entry) -> list[tuple[str, list[str]]]:
    """What is known of a dataset, and what is not, but for its headline and its citation."""
    return [(name.strip(), lines) for name, lines in sheet_of(entry)[1:] if name != "citation"]


def counts(entry: Entry | None, measured: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Images, annotations and median area (px): as the authors and the paper print them, and as they are here, by
    the paper's rule and in all."""
    printed = [
        source.model_dump() if source else {} for source in (entry and entry.official, entry and entry.paper)
    ]
    sources = [*printed, measured["table1"] or {}, measured]
    facts = {"images": "images", "annotations": "annotations", "median_area": "median area, px"}
    return [(text, [figure(source.get(name)) for source in sources]) for name, text in facts.items()]


def labels(slug: str) -> list[dict[str, Any]]:
    """The labels of a dataset and the texts of their concepts (None: ignored, and why)."""
    vocabulary = Vocabulary.load()
    try:
        own = load_labels(slug).labels.values()
    except VocabularyError:
        return []
    return [
        {
            "label": label.native,
            "value": label.value,
            "colour": label.color,
            "concept": vocabulary[label.concept].text if label.concept else None,
            "reason": label.reason,
        }
        for label in own
    ]
