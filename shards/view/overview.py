"""One picture of a whole corpus: a row a dataset, a few samples each, masks over images, prompts below."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medshards.common.files import write_atomically
from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build.split import SPLITS, TRAIN
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.decode import Stored, decode
from medshards.shards.view.drawing import Cell, Colour, Row, Shape, colour, page
from medshards.shards.view.samples import choose, truth_cell

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
}  # what an overview can be written as
Predict = Callable[[str, Stored], Mapping[str, NDArray[np.bool_]]]


def overview(
    out: str | Path,
    target: Path,
    per_dataset: int = 4,
    datasets: Collection[str] | Mapping[str, str] = (),
    predict: Predict | None = None,
) -> Path:
    """Draw the corpus at `out` into the picture `target`: for every dataset some samples spread over all it has.

    The suffix of `target` says the format (FORMATS). Instances have a contour and a light fill, each in a colour of
    its own; the prompts stand below. `datasets` names those to draw (none: all); a mapping also says from which split
    (else from any). With `predict` (slug and sample to the mask of each concept) predictions are drawn beside each
    sample, dashed. Raises CorpusError and BadSample.
    """
    facts = Corpus.open(out, TRAIN, datasets or None).facts  # names what the corpus lacks
    counts = {slug: own["samples"] for slug, own in facts["datasets"].items()}
    catalog = load_catalog()
    slugs = datasets or counts
    rows = []
    for slug in [*(s for s in catalog if s in slugs), *sorted(set(slugs) - set(catalog))]:
        tried = (datasets[slug],) if isinstance(datasets, Mapping) else SPLITS
        cells = [
            c for sample in _samples(out, slug, tried, per_dataset) for c in _cells(slug, sample, predict)
        ]
        title, modality = (catalog[slug].title, catalog[slug].modality) if slug in catalog else (slug, "")
        rows.append(Row(title, [modality, f"{counts[slug]:,} image{'s' * (counts[slug] != 1)}"], cells))
    drawn = io.BytesIO()
    page(rows).save(drawn, FORMATS[target.suffix.lower()], optimize=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, drawn.getvalue())
    return target


def _samples(out: str | Path, slug: str, splits: Sequence[str], count: int) -> Iterator[Stored]:
    """`count` samples of the splits, at even distances among those with instances; empty ones only fill up."""
    places: list[tuple[Corpus, int]] = []
    annotated: list[bool] = []
    for corpus in (Corpus.open(out, split, [slug]) for split in splits):
        present = corpus.tables[slug]["concepts"].to_pylist() if len(corpus) else []
        places += [(corpus, number) for number in range(len(present))]
        annotated += [bool(concepts) for concepts in present]
    for corpus, number in (places[position] for position in choose(annotated, count)):
        yield decode(corpus.read(number))


def _cells(slug: str, sample: Stored, predict: Predict | None) -> list[Cell]:
    truth = truth_of(sample)
    return [truth] if predict is None else [truth, prediction_cell(sample, predict(slug, sample))]


def truth_of(sample: Stored) -> Cell:
    """A sample with every instance in its own colour."""
    return truth_cell(sample.image, sample.record, sample.mask)


def prediction_cell(sample: Stored, masks: Mapping[str, NDArray[np.bool_]]) -> Cell:
    """A sample with the predicted mask of each of its concepts, in the colour of the concept's first instance."""
    instances = sample.record["instances"]
    first = {i["concept"]: number for number, i in reversed([*enumerate(instances)])}
    texts = {i["concept"]: i["text"] for i in instances}
    shown = [concept for concept in sorted(masks) if concept in first]
    shapes = [Shape(masks[concept], colour(first[concept]), dashed=True) for concept in shown]
    prompts: dict[str, list[Colour]] = {}
    for concept in shown:
        if masks[concept].any():
            prompts[f"predicted: {texts[concept]}"] = [colour(first[concept])]
        else:
            prompts[f"predicted: no {texts[concept]}"] = []
    return Cell(sample.image, shapes, prompts)
