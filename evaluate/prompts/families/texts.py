"""Families of text prompts (T1 to T8): the ways in which people write what they want, right or wrong.

Lists are data (texts.yaml and the vocabulary), so that they can be reviewed: `medshards prompts show --texts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medshards.common.yamlfile import read_yaml
from medshards.evaluate.prompts.draws import Draws, seed_of
from medshards.evaluate.prompts.families.wrong import opposite
from medshards.evaluate.prompts.severity import Steps
from medshards.evaluate.prompts.target import Scene, Target
from medshards.vocab.scenes import foreign
from medshards.vocab.vocabulary import Vocabulary

FILE = Path(__file__).with_name("texts.yaml")
MOST = 5  # variants of a family, as many as there are severities


@dataclass(frozen=True)
class Text:
    """A text prompt. concept: whose mask answers it; "" when the right answer is empty."""

    text: str
    concept: str


@cache
def lists() -> dict[str, Any]:
    """The content of texts.yaml."""
    content: dict[str, Any] = read_yaml(FILE)
    return content


def synonym(target: Target, draws: Draws) -> Steps[Text]:
    """T1: other names of the concept in the vocabulary."""
    names = [n for n in target.scene.vocabulary[target.concept].names if n != canonical(target)]
    return _steps(target, names)


def spelling(target: Target, draws: Draws) -> Steps[Text]:
    """T2: capitals, a hyphen, an underscore, the plural."""
    text, plural = canonical(target), _own(target).get("plural")
    made = [text.upper(), text.capitalize(), text.replace(" ", "-"), text.replace(" ", "_"), plural]
    return _steps(target, [m for m in made if m and m != text])


def typo(target: Target, draws: Draws) -> Steps[Text]:
    """T3: one, two, three slips: neighbours swapped, a letter left out, a letter twice."""
    text, made = canonical(target), []
    for kind in (draws.integer(0, 3) for _ in range(3)):
        text = _slip(text, kind, draws)
        made.append(text)
    return _steps(target, made)


def level(target: Target, draws: Draws) -> Steps[Text]:
    """T4: the broader concepts, the nearest first, then the narrower ones."""
    vocabulary = target.scene.vocabulary
    wider = [vocabulary[c].text for c in vocabulary.ancestors(target.concept)]
    return _steps(target, wider + [vocabulary[c].text for c in vocabulary.children(target.concept)])


def side(target: Target, draws: Draws) -> Steps[Text]:
    """T5: the other side. The text is right, and what it names may be there or not."""
    other, vocabulary = opposite(target.concept), target.scene.vocabulary
    if not other or other not in vocabulary:
        return Steps([(None, {"other": None})])
    there = other if other in target.scene.classes else ""
    return Steps([(Text(vocabulary[other].text, there), {"other": other})])


def absent(target: Target, draws: Draws) -> Steps[Text]:
    """T6: concepts that are not there. The same ones for every class of a scene."""
    vocabulary = target.scene.vocabulary
    made = [(Text(vocabulary[c].text, ""), {"concept": c}) for c in absent_concepts(target.scene)]
    return Steps(made[:3] or [(None, {"concept": None})])


def absent_concepts(scene: Scene) -> list[str]:
    """What is known not to be there: annotated and absent, then what such a picture cannot show (vocab/scenes.yaml), in
    an order drawn for the scene."""
    never = foreign(scene.dataset, scene.classes.keys(), scene.vocabulary)
    order = Draws(seed_of(scene.dataset, scene.key, "T6")).order(len(never))
    return [*scene.absent, *(never[k] for k in order)]


def language(target: Target, draws: Draws) -> Steps[Text]:
    """T7: other languages. The translations of texts.yaml have not been reviewed by native speakers."""
    names = _own(target).get("language", [])
    made: list[tuple[Text | None, dict[str, Any]]] = [
        (Text(name, target.concept), {"language": code})
        for code, name in zip(lists()["languages"], names, strict=False)
    ]
    return Steps(made or [(None, {"language": None})])


def sentence(target: Target, draws: Draws) -> Steps[Text]:
    """T8: sentences as in an order or a report."""
    return _steps(target, [s.format(text=canonical(target)) for s in lists()["sentences"]])


def listed() -> list[tuple[str, str, str]]:
    """(concept, family, text) of every text that comes from a list, for review."""
    found = []
    for concept in Vocabulary.load():
        own = lists()["concepts"].get(concept.id, {})
        found += [(concept.id, "T1", name) for name in concept.names if name != concept.text]
        found += [(concept.id, "T2", own["plural"])] if "plural" in own else []
        found += [(concept.id, "T7", name) for name in own.get("language", [])]
    return found + [("", "T8", sentence) for sentence in lists()["sentences"]]


def _steps(target: Target, texts: Sequence[str]) -> Steps[Text]:
    unique = list(dict.fromkeys(texts))[:MOST]
    return Steps([(Text(t, target.concept), {}) for t in unique] or [(None, {})])


def canonical(target: Target) -> str:
    """The text that the corpus asks for the target with."""
    return target.scene.asked.get(target.concept) or target.scene.vocabulary[target.concept].text


def _own(target: Target) -> dict[str, Any]:
    own: dict[str, Any] = lists()["concepts"].get(target.concept, {})
    return own


def _slip(text: str, kind: int, draws: Draws) -> str:
    letters = [k for k in range(len(text) - 1) if text[k].isalpha() and text[k + 1].isalpha()]
    if not letters:
        return text + text[-1]
    k = draws.choice([k for k in letters if text[k] != text[k + 1]] or letters)
    if kind == 0:
        return text[:k] + text[k + 1] + text[k] + text[k + 2 :]
    return text[:k] + text[k + 1 :] if kind == 1 else text[: k + 1] + text[k:]
