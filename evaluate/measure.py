"""Run a checkpoint over a corpus: every sample once, all its prompts in one pass, figures at native resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.common.overlap import overlap
from medshards.common.window import UNITS, Windows
from medshards.evaluate.dataset import Dataset, asked, query_of, truth_of
from medshards.evaluate.detection import SCORE, match
from medshards.evaluate.metrics import Convention, distances, emptiness
from medshards.evaluate.protocol import contest
from medshards.evaluate.report.journal import Journal
from medshards.evaluate.report.rows import Measured, Row
from medshards.evaluate.report.text import Report
from medshards.evaluate.segmenter import Query, Segmenter
from medshards.evaluate.volumes.nifti import VolumeWriter
from medshards.evaluate.volumes.whole import WholeVolume
from medshards.shards.build.manifest import tool_version
from medshards.shards.read.corpus import BadSample
from medshards.shards.read.decode import Stored, decode
from medshards.train.model.answers import Answer, Rule


@dataclass(frozen=True)
class Measure:
    """How samples are measured.

    rules: ways to make a class's mask. distances: how borders are measured, None: not at all. tolerance: of NSD, in mm
    where the sample has a spacing, else px. windows: how numbers of volumes are shown, by unit.
    """

    rules: Sequence[Rule]
    distances: Convention | None = None
    tolerance: float = 2.0
    windows: Windows | None = None

    @property
    def floor(self) -> float:
        """The least score of an instance that counts for anything."""
        return min([*(rule.floor for rule in self.rules), SCORE])

    def figures(
        self, mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float] | None
    ) -> dict[str, Any]:
        """The figures of a mask (H×W or D×H×W) as values of a `Row`."""
        agreement = overlap(mask, truth)
        found: dict[str, Any] = {"dice": agreement.dice, "iou": agreement.iou}
        if self.distances is not None:
            apart = distances(mask, truth, spacing, self.distances)
            found |= {"hd95": apart.hausdorff(), "nsd": apart.surface_dice(self.tolerance)}
        return found

    def rows(
        self, sample: Stored, dataset: Dataset, concepts: Sequence[str], answers: Sequence[Answer]
    ) -> tuple[list[Row], dict[str, dict[str, NDArray[np.bool_]]]]:
        """The rows of a sample, and the masks of the classes annotated in it under each rule."""
        truth = truth_of(sample)
        true: dict[str, list[NDArray[np.bool_]]] = {}
        for instance in sample.record["instances"]:
            true.setdefault(instance["concept"], []).append(sample.mask(instance))
        spacing = sample.record.get("spacing")
        found = {
            concept: [f.region.mask(answer.size) for f in answer.instances if f.score >= SCORE]
            for concept, answer in zip(concepts, answers, strict=True)
        }
        matches = {concept: match(found[concept], true.get(concept, [])) for concept in concepts}
        rows: list[Row] = []
        masks: dict[str, dict[str, NDArray[np.bool_]]] = {}
        known: dict[tuple[str, bytes], dict[str, Any]] = {}  # rules often give the same mask
        for rule in self.rules:
            claims = {c: answer.claim(rule.of(c)) for c, answer in zip(concepts, answers, strict=True)}
            masks[str(rule)] = contest(claims, sample, dataset)
            for concept, answer in zip(concepts, answers, strict=True):
                mask = masks[str(rule)].get(concept, claims[concept].claimed)
                own = truth.get(concept)
                blank = own if own is not None else np.zeros(answer.size, bool)
                figures: dict[str, Any] = {}
                if own is not None:
                    place = concept, mask.tobytes()
                    if place not in known:
                        known[place] = self.figures(mask, own, spacing)
                    figures = known[place]
                pair = matches[concept]
                rows.append(
                    Row(
                        str(rule), concept, dataset.text(concept), int(np.count_nonzero(blank)), mask.size,
                        emptiness(mask, blank), bool(claims[concept].claimed.any()), answer.score, **figures,
                        unit="mm" if spacing else "px", matches=(pair.predicted, pair.true, pair.ious),
                    )
                )  # fmt: skip
        return rows, masks


def evaluate(
    segmenter: Segmenter,
    datasets: Sequence[Dataset],
    measure: Measure,
    made: Mapping[str, Any],
    progress: Callable[[str], None] = lambda slug: None,
    volumes: VolumeWriter | None = None,
    journal: Journal | None = None,
    ranks: tuple[int, int] = (0, 1),
) -> Report:
    """Measure every dataset under every rule; `progress(slug)` is called after each sample.

    volumes: takes the masks that the first rule gives slices. journal: what was measured before is not again. ranks:
    the number of this process and how many share the work; the report holds what the journal does.

    A class that the image lacks is asked for and may take pixels from others. It has no Dice; instead the report
    counts how often the answer to an absent class or foreign concept is empty by itself, before pixels are contested.
    A sample that cannot be read is listed in the report and left out. Whole volumes are measured beside their slices.
    `made` goes into the report.
    """
    journal = journal or Journal(None, made)
    rank, size = ranks
    place = 0
    for dataset in datasets:
        for unit in dataset.units(segmenter.batch):
            place += 1
            if (place - 1) % size != rank:
                continue
            slug, numbers = dataset.slug, unit.numbers
            whole = WholeVolume(slug, numbers[0], unit.volume) if unit.volume else None
            again = volumes is not None or (
                whole is not None and (slug, numbers[0], True) not in journal.done
            )
            # a whole portion again, or nothing: the same images in one pass give the same figures
            for start in range(0, len(numbers), segmenter.batch):
                part = numbers[start : start + segmenter.batch]
                if again or any((slug, number, False) not in journal.done for number in part):
                    _measure(segmenter, dataset, part, measure, journal, volumes, whole if again else None)
            if again and whole is not None:
                journal.add(whole.measured(measure.figures))
            for _ in numbers:
                progress(slug)
    return Report(
        dict(made), {d.slug: (d.split, d.instances) for d in datasets}, measure.rules, journal.samples()
    )


def _measure(
    segmenter: Segmenter,
    dataset: Dataset,
    numbers: Sequence[int],
    measure: Measure,
    journal: Journal,
    volumes: VolumeWriter | None,
    whole: WholeVolume | None,
) -> None:
    """Measure some samples, asked in one go. whole: the volume whose slices they are."""
    asked_of: list[tuple[int, Stored, Query, list[str]]] = []
    for number in numbers:
        try:
            sample = decode(dataset.corpus.read(number), measure.windows)
            asked_of.append((number, sample, *query_of(sample, dataset)))
        except BadSample as error:
            journal.add(_unread(dataset, number, error))
    semantic = any(rule.aggregate == "semantic" for rule in measure.rules)
    try:
        answered = segmenter.segment([query for _, _, query, _ in asked_of], measure.floor, semantic)
    except BadSample:  # of several, name the one; the others are answered
        answered = []
        for number, _, query, _ in list(asked_of):
            try:
                answered += segmenter.segment([query], measure.floor, semantic)
            except BadSample as error:
                journal.add(_unread(dataset, number, error))
                asked_of = [each for each in asked_of if each[0] != number]
    for (number, sample, _, concepts), answers in zip(asked_of, answered, strict=True):
        rows, masks = measure.rows(sample, dataset, concepts, answers)
        if whole is not None:
            whole.add(sample, rows, masks)
        if volumes is not None and asked(sample):
            first = masks[str(measure.rules[0])]
            volumes.add(sample.record, {c: first[c] for c in asked(sample)})
        record = sample.record
        journal.add(Measured(dataset.slug, number, record["key"], str(record["group"]), tuple(rows)))


def _unread(dataset: Dataset, number: int, error: BadSample) -> Measured:
    slug, key = dataset.corpus.name(number).split("/", 1)
    return Measured(slug, number, key, "", problem=str(error).removeprefix(f"{slug}/{key}: "))


def protocol_facts(location: str | Path, corpus: Mapping[str, Any], measure: Measure) -> dict[str, Any]:
    """What the report says of corpus and protocol; `corpus` is the content of corpus.json."""
    apart = "not measured"
    if measure.distances is not None:
        apart = f"{measure.distances} convention, NSD within {measure.tolerance:g} mm, or px without spacing"
    typed = {unit: name for name, unit in UNITS.items()}
    shown = ", ".join(
        f"{typed[unit]}={low:g}:{high:g}" for unit, (low, high) in (measure.windows or {}).items()
    )
    return {
        "corpus": str(location),
        "corpus_digest": corpus["digest"],
        "profile": corpus["profile"],
        "medshards": tool_version(),
        "prompts": "the concept's canonical text alone, one prompt a class",
        "classes_asked": "every class annotated in the image, present or known to be absent",
        "classes_scored": "those present; ground truth is the union of the class's instances",
        "absent": "classes asked of images that do not show them; empty: no pixel, before pixels are contested",
        "masks": "logits upsampled bilinearly to the image's own size, probability > 0.5",
        "contested_pixels": "highest score times mask probability; a class does not compete with a broader one",
        "instances": f"predicted with a score of {SCORE:g} or more, matched by IoU, before pixels are contested",
        "distances": apart,
        "volumes": "measured in 3D over the slices that the corpus holds, classes that the volume shows",
        **({"windows": shown} if shown else {}),
    }
