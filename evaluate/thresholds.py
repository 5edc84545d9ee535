"""A score for each concept below which an answer counts for nothing: calibrated on validation, written, used again.

Of every validation image that is asked for a concept the Dice is taken, which is 1 where both masks are empty: so a
threshold must keep what is there and drop what is not. Of the scores 0.05, 0.10 … 0.95 that with the highest mean is
taken, of several the one nearest to the rule's own. Each concept is measured by itself, before pixels are contested.
Test images have no part in it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medshards.common.files import write_atomically
from medshards.common.overlap import overlap
from medshards.common.spread import spread
from medshards.common.text import in_words
from medshards.common.window import Windows
from medshards.evaluate.dataset import Dataset, open_datasets, query_of, truth_of
from medshards.evaluate.segmenter import Segmenter
from medshards.shards.build.split import VAL
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.corpus import BadSample
from medshards.shards.read.decode import decode
from medshards.train.model.answers import Answer, Rule

if TYPE_CHECKING:
    from medshards.train.run.parallel import World

FORMAT = "medshards thresholds 1"
GRID = tuple(k / 20 for k in range(1, 20))
IMAGES = 200  # of each dataset's validation split


class ThresholdError(ValueError):
    """A file of thresholds cannot be used; the message says why."""


@dataclass(frozen=True)
class Thresholds:
    """rule: with the calibrated scores. concepts: of each the score, the images and how many show it, and the mean Dice
    with it and with the rule's own. uncalibrated: concepts that no validation image was asked for. made: how."""

    rule: Rule
    concepts: Mapping[str, Mapping[str, Any]]
    uncalibrated: Sequence[str]
    made: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """As JSON, which `read` reads."""
        content = {
            "format": FORMAT,
            "made": dict(self.made),
            "rule": self.rule.facts(),
            "concepts": {concept: dict(own) for concept, own in self.concepts.items()},
            "uncalibrated": list(self.uncalibrated),
        }
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Thresholds:
        """Raises ThresholdError."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ThresholdError(f"{path}: its format is {content['format']!r}, expected {FORMAT!r}")
            rule = Rule.from_facts(content["rule"])
            return cls(rule, content["concepts"], content["uncalibrated"], content["made"])
        except OSError as error:
            raise ThresholdError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ThresholdError):
                raise
            raise ThresholdError(
                f"{path} is no file as `medshards evaluate --threshold auto` writes it ({in_words(error)})"
            ) from error


def calibrate(
    segmenter: Segmenter,
    location: str | Path,
    concepts: Collection[str],
    rule: Rule,
    made: Mapping[str, Any],
    windows: Windows | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
    ranks: World | None = None,
) -> Thresholds:
    """Thresholds for `concepts`, from the validation images of whichever datasets of a corpus are asked for them.

    rule: top1 or union, with the score of concepts that cannot be calibrated. progress: images done, of how many.
    ranks: share the images, and come to the same scores as one alone. Raises CorpusError when the corpus has no
    validation split.
    """
    every = [d for d in open_datasets(location, split=VAL) if len(d.corpus)]
    if not every:
        raise CorpusError(
            f"{location} has no validation split, and scores are never calibrated on test images: build it with a "
            "dataset that has one, or give the thresholds of another corpus"
        )
    used = [dataset for dataset in every if set(dataset.texts) & set(concepts)]
    places = [(d, number) for d in used for number in spread(range(len(d.corpus)), IMAGES)]
    rank, size = (ranks.rank, ranks.size) if ranks is not None else (0, 1)
    lines = []
    for place in range(rank, len(places), size):
        progress(place, len(places))
        for concept, there, own in _asked(segmenter, *places[place], rule, windows):
            if concept in concepts:
                lines.append(json.dumps((place, concept, there, own)))
    if ranks is not None:
        lines = ranks.gather(lines)
    values: dict[str, list[list[float]]] = defaultdict(list)
    present: dict[str, int] = defaultdict(int)
    for _, concept, there, own in sorted(map(json.loads, lines)):
        values[concept].append(own)
        present[concept] += there
    found: dict[str, dict[str, Any]] = {}
    for concept, rows in sorted(values.items()):
        means = np.mean(rows, axis=0)
        best = min(
            range(len(GRID)), key=lambda k: (-round(means[k], 9), abs(GRID[k] - (rule.min_score or 0)))
        )
        found[concept] = {
            "min_score": GRID[best],
            "images": len(rows),
            "present": present[concept],
            "dice": float(means[best]),
            "dice_uncalibrated": float(means[-1]),
        }
    calibrated = tuple((concept, own["min_score"]) for concept, own in found.items())
    left = sorted(set(concepts) - set(found))
    facts = {**made, "calibrated_on": ", ".join(f"{d.slug} (val)" for d in used), "images": len(places)}
    return Thresholds(Rule(rule.aggregate, rule.min_score, calibrated), found, left, facts)


def _asked(
    segmenter: Segmenter, dataset: Dataset, number: int, rule: Rule, windows: Windows | None
) -> Iterator[tuple[str, bool, list[float]]]:
    """(concept, whether the image shows it, the Dice at every score of the grid and at the rule's own)."""
    rules = [Rule(rule.aggregate, score) for score in (*GRID, rule.min_score)]
    try:
        sample = decode(dataset.corpus.read(number), windows)
        query, concepts = query_of(sample, dataset)
        (answers,) = segmenter.segment([query], min(each.floor for each in rules))
    except BadSample:  # named by the evaluation of its split, or by `medshards verify`
        return
    truths = truth_of(sample)
    for concept, answer in zip(concepts, answers, strict=True):
        truth = truths.get(concept, np.zeros(query.size, bool))
        known: dict[int, float] = {}
        yield concept, concept in truths, [_dice(answer, each, truth, known) for each in rules]


def _dice(answer: Answer, rule: Rule, truth: Any, known: dict[int, float]) -> float:
    """The Dice under a rule; `known`: by the number of instances, which alone decides it."""
    count = len(answer.chosen(rule))
    if count not in known:
        known[count] = overlap(answer.claim(rule).claimed, truth).dice
    return known[count]
