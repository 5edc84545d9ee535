"""A dataset of a corpus with one of its splits open, and what is asked of its samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.segmenter import Query
from medshards.shards.build.split import TEST, VAL
from medshards.shards.read.chain import read_manifest
from medshards.shards.read.corpus import BadSample, Corpus
from medshards.shards.read.decode import Stored


@dataclass(frozen=True)
class Unit:
    """Numbers of samples that are measured together; volume: whose slices they are, None for images."""

    numbers: list[int]
    volume: str | None


class Dataset:
    """One dataset of a corpus, with one of its splits open.

    texts: prompt of each concept. broader: wider concepts of each. instances: how masks became instances. foreign:
    concepts that no image shows, asked for all the same.
    """

    def __init__(
        self, location: str | Path, slug: str, split: str | None, absent: Collection[str] = ()
    ) -> None:
        """`split` None: the test split of an external or held-out dataset, the validation split of any other.

        Of the concepts `absent` those become foreign that are unrelated to every concept of the dataset. Raises
        CorpusError, UnknownConcept.
        """
        corpus = Corpus.open(location, VAL, [slug])
        manifest = read_manifest(corpus.store, slug, corpus.facts)
        policy = manifest["policy"]
        self.slug = slug
        held_out = policy["role"] == "external" or not manifest["counts"][VAL]
        self.split = split or (TEST if held_out and manifest["counts"][TEST] else VAL)
        self.corpus = Corpus.open(location, self.split, [slug])
        self.texts: dict[str, str] = policy["texts"]
        self.broader: dict[str, list[str]] = policy["ancestors"]
        vocabulary = corpus.vocabulary
        self.foreign = {
            concept: vocabulary[concept].text
            for concept in sorted(set(absent))
            if not any(vocabulary.related(concept, own) for own in self.texts)
        }
        rule = policy["rule"] if policy["profile"] == "paper" else None
        self.instances = str(rule["instances"] if rule else policy["how"])

    def text(self, concept: str) -> str:
        """The prompt of a concept."""
        return self.texts[concept] if concept in self.texts else self.foreign[concept]

    def units(self, batch: int) -> list[Unit]:
        """The samples in portions that are measured at once, by one rank, whatever the number of ranks: all slices of
        a volume, or `batch` images."""
        units: list[Unit] = []
        for number, volume in enumerate(self._volumes()):
            last = units[-1] if units else None
            if last is not None and last.volume == volume and (volume or len(last.numbers) < batch):
                last.numbers.append(number)
            else:
                units.append(Unit([number], volume))
        return units

    def _volumes(self) -> list[str | None]:
        """The volume of each sample that is a slice of one, else None."""
        if not len(self.corpus):
            return []
        rows = self.corpus.indices[self.slug].read(["volume"]).take(self.corpus.tables[self.slug]["row"])
        return [str(name) if name else None for name in rows["volume"].to_pylist()]


def open_datasets(
    location: str | Path,
    slugs: Collection[str] | None = None,
    split: str | None = None,
    absent: Collection[str] = (),
) -> list[Dataset]:
    """The datasets of a corpus (only `slugs`), each with its split open. Raises CorpusError, UnknownConcept."""
    facts = Corpus.open(location, VAL, slugs if slugs else None).facts
    return [Dataset(location, slug, split, absent) for slug in sorted(slugs or facts["datasets"])]


def ids_of(datasets: Sequence[Dataset]) -> dict[str, str]:
    """The id of every concept that is asked for, by its text."""
    return {text: concept for d in datasets for concept, text in (d.texts | d.foreign).items()}


def truth_of(sample: Stored) -> dict[str, NDArray[np.bool_]]:
    """The ground truth (bool H×W) of each class that occurs in the image: the union of its instances."""
    truth: dict[str, NDArray[np.bool_]] = {}
    for instance in sample.record["instances"]:
        mask, known = sample.mask(instance), truth.get(instance["concept"])
        truth[instance["concept"]] = mask if known is None else known | mask
    return {concept: mask for concept, mask in truth.items() if mask.any()}


def asked(sample: Stored) -> list[str]:
    """The classes to ask for: every one annotated in the image, present or known to be absent."""
    return sorted({*(i["concept"] for i in sample.record["instances"]), *sample.record["absent"]})


def query_of(sample: Stored, dataset: Dataset) -> tuple[Query, list[str]]:
    """What to ask of a sample, and the concept of each text: every class annotated, then every foreign concept.

    Raises BadSample when a class has no prompt.
    """
    concepts = asked(sample)
    if missing := [c for c in concepts if c not in dataset.texts]:
        raise BadSample(f"{dataset.slug}/{sample.record['key']}: no prompt is known for {', '.join(missing)}")
    texts = {c: dataset.texts[c] for c in concepts} | dataset.foreign
    return Query(f"{dataset.slug}/{sample.record['key']}", sample.image, tuple(texts.values())), list(texts)
