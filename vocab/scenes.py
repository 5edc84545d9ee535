"""Which concepts an image cannot show, whatever was annotated: negative prompts that cannot be wrong. See scenes.yaml.

impossible("kvasir_seg")        # {'aorta', 'benign_breast_lesion', …}: nothing that a colonoscopy might show
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medshards.common.text import near
from medshards.common.yamlfile import LocatedDict, read_yaml
from medshards.vocab.concept import KINDS, VocabularyError
from medshards.vocab.vocabulary import Vocabulary

FILE = Path(__file__).with_name("scenes.yaml")
FIELDS = ("datasets", "concepts", "exactly", "kinds", "except")


@dataclass(frozen=True)
class Scene:
    """A kind of picture: the datasets that are of it, and ids of the concepts that it cannot show."""

    name: str
    datasets: tuple[str, ...]
    impossible: frozenset[str]


def impossible(slug: str, scenes: Mapping[str, Scene] | None = None) -> frozenset[str]:
    """Ids of the concepts that no image of a dataset can show; none of a dataset that no scene names."""
    known = load_scenes() if scenes is None else scenes
    return next((scene.impossible for scene in known.values() if slug in scene.datasets), frozenset())


def foreign(slug: str, own: Collection[str], vocabulary: Vocabulary) -> list[str]:
    """Ids of what no image of a dataset can show and what is unrelated to its `own` concepts, in order.

    vocabulary: knows the `own` concepts. Of a user's concepts and datasets no scene tells: nothing is foreign to such a
    dataset, and such a concept to none.
    """
    return sorted(c for c in impossible(slug) if not any(vocabulary.related(c, o) for o in own))


@cache
def load_scenes(path: Path = FILE) -> Mapping[str, Scene]:
    """Read and validate scenes.yaml. Raises VocabularyError with every problem of the file."""
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise VocabularyError(str(error)) from error
    vocabulary, problems, taken = Vocabulary.load(), list[str](), dict[str, str]()
    scenes = {}
    for name, entry in content.items():
        problems += _problems(f"{path}:{content.lines[name]}: {name}", entry, vocabulary)
        for slug in entry.get("datasets", ()):
            if slug in taken:
                problems.append(
                    f"{path}:{content.lines[name]}: {slug} is in {taken[slug]} and {name}; keep one"
                )
            taken[slug] = name
        if not problems:
            scenes[name] = Scene(name, tuple(entry["datasets"]), _impossible(entry, vocabulary))
    if problems:
        raise VocabularyError(*problems)
    return scenes


def _problems(where: str, entry: LocatedDict, vocabulary: Vocabulary) -> list[str]:
    found = [
        f"{where}: unknown field {key!r}; the fields are {', '.join(FIELDS)}"
        for key in entry
        if key not in FIELDS
    ]
    ids = [concept.id for concept in vocabulary]
    for field in ("concepts", "exactly", "except"):
        found += [
            f"{where}: {field} names {concept!r}, which is no concept{near(concept, ids)}"
            for concept in entry.get(field, ())
            if concept not in vocabulary
        ]
    found += [
        f"{where}: unknown kind {kind!r}; the kinds are {', '.join(KINDS)}"
        for kind in entry.get("kinds", ())
        if kind not in KINDS
    ]
    return found


def _impossible(entry: LocatedDict, vocabulary: Vocabulary) -> frozenset[str]:
    """What is neither listed, nor of a listed kind, nor broader than what may be seen."""
    seen = {c.id for c in vocabulary if c.kind in entry.get("kinds", ())}
    seen -= {c for c in seen if _within(c, entry.get("except", ()), vocabulary)}
    seen |= {c.id for c in vocabulary if _within(c.id, entry.get("concepts", ()), vocabulary)}
    seen |= set(entry.get("exactly", ()))
    seen |= {broader for concept in seen for broader in vocabulary.ancestors(concept)}
    return frozenset(concept.id for concept in vocabulary if concept.id not in seen)


def _within(concept: str, listed: list[str], vocabulary: Vocabulary) -> bool:
    return concept in listed or any(broader in listed for broader in vocabulary.ancestors(concept))
