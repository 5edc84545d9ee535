"""The pictures of a report: an image with its truth beside what each model predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medshards.common.window import Windows, parse_windows
from medshards.evaluate.dataset import Dataset, ids_of
from medshards.evaluate.open import OPENING, open_segmenter
from medshards.evaluate.protocol import claims_of, contest
from medshards.evaluate.report.rows import Pair
from medshards.evaluate.report.text import Report
from medshards.evaluate.segmenter import Segmenter
from medshards.shards.read.chain import CorpusError
from medshards.shards.read.decode import decode
from medshards.shards.view.drawing import Cell
from medshards.shards.view.overview import prediction_cell, truth_of
from medshards.train.model.answers import Rule


def drawer(
    segmenters: Sequence[tuple[Segmenter, Rule]],
    datasets: Sequence[Dataset],
    report: Report,
    windows: Windows | None = None,
) -> Callable[[Pair], list[Cell]]:
    """Draws an (image, class) pair of a report: the truth, and what each segmenter predicts under its rule."""
    opened = {dataset.slug: dataset for dataset in datasets}
    places = {(sample.dataset, sample.key): sample.number for sample in report.samples}

    def draw(pair: Pair) -> list[Cell]:
        dataset, concept = opened[pair.dataset], pair.row.concept
        sample = decode(dataset.corpus.read(places[pair.dataset, pair.key]), windows)
        cells = [truth_of(sample)]
        for segmenter, rule in segmenters:
            masks = contest(claims_of(segmenter, sample, dataset, [rule])[rule], sample, dataset)
            cells.append(prediction_cell(sample, {concept: masks[concept]}))
        return cells

    return draw


class Unavailable(Exception):
    """What a saved report was made from cannot be had any more; the message says what."""


def drawer_of(reports: Sequence[Report]) -> Callable[[Pair], list[Cell]]:
    """The same from saved reports of one corpus: it and the models are opened where they lay. Raises Unavailable."""
    made, datasets = reports[0].made, reports[0].datasets
    try:
        opened = [Dataset(made["corpus"], slug, split) for slug, (split, _) in datasets.items()]
        digests = {opened[0].corpus.digest, *(report.made["corpus_digest"] for report in reports)}
        if len(digests) > 1:
            raise Unavailable(f"{made['corpus']} is another corpus than that of the reports")
        segmenters = [(_again(report.made, ids_of(opened)), report.rules[0]) for report in reports]
        windows = parse_windows(made["windows"].split(", ")) if "windows" in made else None
    except (CorpusError, *OPENING, KeyError, OSError, ValueError) as error:
        raise Unavailable(f"what the reports were made from cannot be opened: {error}") from error
    return drawer(segmenters, opened, reports[0], windows)


def _again(made: Mapping[str, Any], ids: Mapping[str, str]) -> Segmenter:
    """The segmenter of a report, when it is still the same."""
    names = ("checkpoint", "adapters", "weights", "predictions", "baseline")
    what = next(made[name] for name in names if name in made)
    segmenter = open_segmenter(what, base=made["weights"] if "adapters" in made else None, ids=ids)
    for name, value in segmenter.facts().items():
        if name.endswith("sha256") and made.get(name) != value:
            raise Unavailable(f"{what} has changed since")
    return segmenter
