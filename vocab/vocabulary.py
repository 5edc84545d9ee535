"""The concept vocabulary: concepts.yaml, and labels/<slug>.yaml from a dataset's own labels to concepts.

vocabulary = Vocabulary.load()
vocabulary.resolve("Retinal blood vessel").id       # 'retinal_vessel'
labels = load_labels("ravir")
labels.concept("vein")                              # 'retinal_vein'
labels.by_value()                                   # {0: 'background', 128: 'artery', 255: 'vein'}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from medshards.common.text import near
from medshards.vocab.concept import (
    KINDS,
    Code,
    Concept,
    Label,
    UnknownConcept,
    UnknownLabel,
    VocabularyError,
    normalise,
)
from medshards.vocab.reading import read_concepts, read_labels

__all__ = [
    "CONCEPTS_FILE",
    "DATASETS",
    "KINDS",
    "Code",
    "Concept",
    "Label",
    "LabelMap",
    "UnknownConcept",
    "UnknownLabel",
    "Vocabulary",
    "VocabularyError",
    "load_labels",
    "normalise",
    "slugs",
]

CONCEPTS_FILE = Path(__file__).with_name("concepts.yaml")
DATASETS = Path(__file__).parents[1] / "curate" / "datasets"  # each dataset's folder holds its labels
LABELS = "labels.yaml"


class Vocabulary:
    """All concepts, in order of id. `vocabulary[id]`, `id in vocabulary`, `for concept in vocabulary`."""

    def __init__(self, concepts: Iterable[Concept]) -> None:
        self._concepts = {concept.id: concept for concept in sorted(concepts, key=lambda concept: concept.id)}
        self._by_name = {
            normalise(name): concept
            for concept in self._concepts.values()
            for name in (concept.id, *concept.names)
        }

    @staticmethod
    def load(path: str | Path | None = None) -> Vocabulary:
        """Read and validate concepts.yaml, or the file at `path`; the default one is read once.

        Raises VocabularyError with every problem of the file.
        """
        return _default_vocabulary() if path is None else Vocabulary(read_concepts(Path(path)))

    def with_file(self, path: Path) -> Vocabulary:
        """This vocabulary and the concepts of a file of the user's own. Raises VocabularyError, also where both name
        the same."""
        return Vocabulary([*self, *read_concepts(path, self)])

    def with_own(self, datasets: Mapping[str, Iterable[Concept]]) -> Vocabulary:
        """This vocabulary and the own concepts that datasets of a corpus bring along, by slug; of two concepts with one
        id theirs counts. Raises VocabularyError where two datasets disagree."""
        homes: dict[str, tuple[str, Concept]] = {}
        for slug, concept in ((slug, c) for slug, own in sorted(datasets.items()) for c in own):
            for name in {normalise(name) for name in (concept.id, *concept.names)}:
                other, known = homes.setdefault(name, (slug, concept))
                if known != concept:
                    what = f"{other} and {slug} mean different concepts by {name!r}"
                    raise VocabularyError(f"{what}; build both again with one file for --concepts")
        return Vocabulary([*self, *(concept for _, concept in homes.values())])

    @property
    def own(self) -> tuple[Concept, ...]:
        """The concepts that the vocabulary of medshards does not hold, in order of id."""
        return tuple(
            concept for concept in self if concept != _default_vocabulary()._concepts.get(concept.id)
        )

    def __getitem__(self, concept_id: str) -> Concept:
        try:
            return self._concepts[concept_id]
        except KeyError:
            raise UnknownConcept(
                f"no concept has the id {concept_id!r}{near(concept_id, self._concepts)}"
            ) from None

    def __contains__(self, concept_id: object) -> bool:
        return concept_id in self._concepts

    def __iter__(self) -> Iterator[Concept]:
        return iter(self._concepts.values())

    def __len__(self) -> int:
        return len(self._concepts)

    def ancestors(self, concept_id: str) -> tuple[str, ...]:
        """Ids of the broader concepts, the nearest first."""
        ids = []
        parent = self[concept_id].parent
        while parent is not None:
            ids.append(parent)
            parent = self[parent].parent
        return tuple(ids)

    def children(self, concept_id: str) -> tuple[str, ...]:
        """Ids of the concepts whose parent this is."""
        return tuple(concept.id for concept in self if concept.parent == self[concept_id].id)

    def related(self, one: str, other: str) -> bool:
        """Whether the two ids are the same concept or one is broader than the other."""
        return one == other or one in self.ancestors(other) or other in self.ancestors(one)

    def resolve(self, name: str) -> Concept:
        """The concept with this id, text or synonym, whatever its case, blanks and underscores.

        Raises UnknownConcept with the nearest names.
        """
        try:
            return self._by_name[normalise(name)]
        except KeyError:
            raise UnknownConcept(
                f"no concept is called {name!r}{near(normalise(name), self._by_name)}"
            ) from None

    def search(self, term: str) -> list[Concept]:
        """Concepts with `term` in a name, those called so first, then those with a name that begins so."""

        def rank(concept: Concept) -> int:
            names = [normalise(name) for name in (concept.id, *concept.names)]
            if wanted in names:
                return 0
            if any(name.startswith(wanted) for name in names):
                return 1
            return 2 if any(wanted in name for name in names) else 3

        wanted = normalise(term)
        return sorted(
            (concept for concept in self if rank(concept) < 3),
            key=lambda concept: (rank(concept), concept.id),
        )

    @cached_property
    def digest(self) -> str:
        """Version of the vocabulary: sha256 (hex) of its content; comments, order and layout do not count."""
        return _sha256([asdict(concept) | {"synonyms": sorted(concept.synonyms)} for concept in self])


@dataclass(frozen=True)
class LabelMap:
    """A dataset's labels and the concepts they mean."""

    dataset: str
    exhaustive: bool
    """Every concept of the map is annotated wherever it is visible: an absent one is a valid negative prompt,
    unless it is an ancestor of one that is present."""
    labels: Mapping[str, Label]

    def concept(self, native: str) -> str | None:
        """Concept id of a label, spelled as the dataset spells it; None when the label is ignored.

        Raises UnknownLabel with the known labels.
        """
        try:
            return self.labels[native].concept
        except KeyError:
            known = ", ".join(repr(label) for label in self.labels)
            raise UnknownLabel(f"{self.dataset} has no label {native!r}; its labels are {known}") from None

    def by_value(self) -> dict[int, str]:
        """Native labels by pixel value, ignored ones too; any other value is an error of the file."""
        return {label.value: native for native, label in self.labels.items() if label.value is not None}

    def by_color(self) -> dict[tuple[int, int, int], str]:
        """Native labels by (red, green, blue), ignored ones too."""
        return {label.color: native for native, label in self.labels.items() if label.color is not None}

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Ids of the concepts that the dataset annotates, in order of id."""
        return tuple(sorted({label.concept for label in self.labels.values() if label.concept is not None}))

    @cached_property
    def ignored(self) -> frozenset[str]:
        """Native labels that mean no concept."""
        return frozenset(label.native for label in self.labels.values() if label.concept is None)

    @cached_property
    def digest(self) -> str:
        """Version of the map: sha256 (hex) of its content."""
        return _sha256(
            [self.dataset, self.exhaustive, [asdict(label) for _, label in sorted(self.labels.items())]]
        )


def load_labels(slug: str, path: str | Path | None = None, vocabulary: Vocabulary | None = None) -> LabelMap:
    """Read and validate the label map of a dataset.

    `path`: another folder with <slug>/labels.yaml in it, or the file itself; `vocabulary`: another one than the
    default. Raises VocabularyError with every problem of the file.
    """
    if path is None and vocabulary is None:
        return _default_labels(slug)
    path = DATASETS if path is None else Path(path)
    return _label_map(slug, path / slug / LABELS if path.is_dir() else path, vocabulary or Vocabulary.load())


def slugs(path: str | Path | None = None) -> tuple[str, ...]:
    """The datasets that have a label map, in order; `path`: another folder."""
    return tuple(sorted(file.parent.name for file in Path(path or DATASETS).glob(f"*/{LABELS}")))


@cache
def _default_vocabulary() -> Vocabulary:
    return Vocabulary(read_concepts(CONCEPTS_FILE))


@cache
def _default_labels(slug: str) -> LabelMap:
    return _label_map(slug, DATASETS / slug / LABELS, _default_vocabulary())


def _label_map(slug: str, file: Path, vocabulary: Vocabulary) -> LabelMap:
    if not file.exists():
        advice = f"write it after the pattern of its neighbours in {DATASETS}{near(slug, slugs())}"
        raise VocabularyError(f"{file}: the dataset {slug!r} has no label map; {advice}")
    exhaustive, labels = read_labels(file, slug, [concept.id for concept in vocabulary])
    return LabelMap(slug, exhaustive, {label.native: label for label in labels})


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
