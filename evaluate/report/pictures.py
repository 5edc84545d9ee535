"""The pictures of a report: an image with its truth beside what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medshards.evaluate.dataset import Dataset
from medshards.evaluate.measure import claims_of, contest
from medshards.evaluate.report.rows import Pair
from medshards.evaluate.report.text import Report
from medshards.evaluate.segmenter import Segmenter
from medshards.shards.read.decode import decode
from medshards.shards.view.drawing import Cell
from medshards.shards.view.overview import prediction_cell, truth_of


def drawer(segmenter: Segmenter, datasets: Sequence[Dataset], report: Report) -> Callable[[Pair], list[Cell]]:
    """Draws an (image, class) pair of a report: the truth and the prediction under the report's first rule."""
    opened = {dataset.slug: dataset for dataset in datasets}
    places = {(sample.dataset, sample.key): sample.number for sample in report.samples}

    def draw(pair: Pair) -> list[Cell]:
        dataset, rule = opened[pair.dataset], report.rules[0]
        sample = decode(dataset.corpus.read(places[pair.dataset, pair.key]))
        masks = contest(claims_of(segmenter, sample, dataset, [rule])[rule], sample, dataset)
        return [truth_of(sample), prediction_cell(sample, {pair.row.concept: masks[pair.row.concept]})]

    return draw
