"""Does it still listen? A fine-tuned model that answers whatever it is asked scores well on present concepts alone.

Every image is asked, besides for what it shows, for concepts that such a picture cannot show (vocab/scenes.yaml: no
annotation is needed), for everyday things, and for what it shows in other words. The rate of answers that are not
empty, the image-level MCC, and how far other words move the Dice tell a model that reads from one that does not.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medshards.common.overlap import overlap
from medshards.common.spread import spread
from medshards.evaluate.dataset import Dataset, truth_of
from medshards.evaluate.detection import Detection, Matches
from medshards.evaluate.segmenter import Query, Segmenter
from medshards.shards.read.corpus import BadSample
from medshards.shards.read.decode import decode
from medshards.train.model.answers import Rule
from medshards.vocab.scenes import foreign

EVERYDAY = ("cat", "car", "tree", "coffee cup", "bicycle")
IMPOSSIBLE = 5  # concepts asked of each image
IMAGES = 50  # of each dataset
VARIANTS = ("synonym", "plural", "upper case", "adjective", "side")


def listen(
    segmenter: Segmenter, datasets: Sequence[Dataset], rule: Rule, images: int = IMAGES
) -> dict[str, Any]:
    """Ask and count, under one rule, up to `images` images of each dataset, evenly spread.

    Returns for the whole and by dataset: questions and non-empty answers for impossible concepts and everyday words,
    the MCC over present and impossible ones, and for each way of saying it differently the mean difference in Dice to
    the canonical text, over the images that allow it.
    """
    by_dataset = {dataset.slug: _Count() for dataset in datasets}
    for dataset in datasets:
        for number in spread(range(len(dataset.corpus)), images):
            try:
                _ask(segmenter, dataset, number, rule, by_dataset[dataset.slug])
            except BadSample:  # named by the evaluation itself
                continue
    whole = _Count()
    for count in by_dataset.values():
        whole.add(count)
    return {
        "rule": str(rule),
        **whole.facts(),
        "datasets": {slug: c.facts() for slug, c in by_dataset.items()},
    }


class _Count:
    def __init__(self) -> None:
        self.asked: dict[str, int] = defaultdict(int)
        self.answered: dict[str, int] = defaultdict(int)
        self.differences: dict[str, list[float]] = defaultdict(list)
        self.pairs: list[Matches] = []

    def add(self, other: _Count) -> None:
        for kind, number in other.asked.items():
            self.asked[kind] += number
            self.answered[kind] += other.answered[kind]
        for variant, values in other.differences.items():
            self.differences[variant] += values
        self.pairs += other.pairs

    def facts(self) -> dict[str, Any]:
        return {
            "asked": {kind: self.asked[kind] for kind in ("present", "impossible", "everyday")},
            "answered": {kind: self.answered[kind] for kind in ("present", "impossible", "everyday")},
            "mcc": Detection(self.pairs).facts()["IL_MCC"] if self.pairs else None,
            "dice_change": {
                variant: {"images": len(values), "mean": float(np.mean(values)), "worst": float(min(values))}
                for variant in VARIANTS
                if (values := self.differences[variant])
            },
        }


def _ask(segmenter: Segmenter, dataset: Dataset, number: int, rule: Rule, count: _Count) -> None:
    sample = decode(dataset.corpus.read(number))
    truth = truth_of(sample)
    questions: list[tuple[str, str, str]] = [("everyday", "", word) for word in EVERYDAY]
    questions += [("impossible", "", text) for text in _foreign(dataset, str(sample.record["key"]))]
    for concept in truth:
        questions.append(("present", concept, dataset.texts[concept]))
        variants = reworded(dataset.texts[concept], dataset.corpus.vocabulary[concept].names)
        questions += [(variant, concept, text) for variant, text in variants]
    texts = tuple(dict.fromkeys(text for _, _, text in questions))
    query = Query(f"{dataset.slug}/{sample.record['key']}", sample.image, texts)
    (answers,) = segmenter.segment([query], rule.floor, rule.aggregate == "semantic")
    concepts = {text: concept for _, concept, text in questions}
    claimed = {t: a.claim(rule.of(concepts[t])).claimed for t, a in zip(texts, answers, strict=True)}
    for kind, concept, text in questions:
        there = bool(claimed[text].any())
        if kind in VARIANTS:
            canonical = overlap(claimed[dataset.texts[concept]], truth[concept]).dice
            count.differences[kind].append(overlap(claimed[text], truth[concept]).dice - canonical)
            continue
        count.asked[kind] += 1
        count.answered[kind] += there
        if kind != "everyday":
            count.pairs.append(
                Matches(int(there), int(kind == "present"), (1.0,) if there and concept else ())
            )


def _foreign(dataset: Dataset, key: str) -> list[str]:
    """Texts of concepts that the image cannot show, drawn by a hash of its key."""
    vocabulary = dataset.corpus.vocabulary
    order = sorted(
        foreign(dataset.slug, dataset.texts, vocabulary),
        key=lambda c: hashlib.sha256(f"{key} {c}".encode()).digest(),
    )
    return [vocabulary[concept].text for concept in order[:IMPOSSIBLE]]


def reworded(text: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Other ways to say a prompt: another of its concept's `names`, plural, upper case, an adjective, a side."""
    if synonyms := [name for name in names if name != text]:
        yield "synonym", synonyms[0]
    if not text.endswith("s"):
        yield "plural", f"{text}s"
    yield "upper case", text.upper()
    yield "adjective", f"small {text}"
    if not text.startswith(("left ", "right ")):
        yield "side", f"left {text}"


def rows(found: dict[str, Any], start: dict[str, Any] | None = None) -> list[list[str]]:
    """Cells of a table: what is asked, and the figures; those of the model that training started from beside them."""
    models = [found] if start is None else [found, start]
    lines = [
        [f"non-empty answers to {what}", *(_rate(m["answered"][kind], m["asked"][kind]) for m in models)]
        for kind, what in (
            ("present", "what is there"),
            ("impossible", "what cannot be there"),
            ("everyday", "everyday words"),
        )
    ]
    lines.append(["MCC of there or not", *("-" if m["mcc"] is None else f"{m['mcc']:.3f}" for m in models)])
    for variant in VARIANTS:
        if any(variant in m["dice_change"] for m in models):
            lines.append([f"Dice with {variant}", *(_change(m["dice_change"].get(variant)) for m in models)])
    return lines


def _rate(answered: int, asked: int) -> str:
    return f"{answered:,} of {asked:,} ({answered / asked:.0%})" if asked else "-"


def _change(found: dict[str, float] | None) -> str:
    return "-" if found is None else f"{found['mean']:+.3f} ({found['images']:.0f} images)"
