"""From rows to figures: means over pairs and classes, intervals, breakdowns."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from medshards.curate.catalog.entry import load_catalog
from medshards.evaluate.bootstrap import Values, interval, interval_of_datasets
from medshards.evaluate.detection import Detection
from medshards.evaluate.report.rows import SIZES, Pair

FIGURES = ("dice", "iou", "hd95", "nsd")


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The figures of some pairs under one rule.

    pairs: those whose class is present. dice …: mean over them; dice_of_classes: mean of the means of each class.
    dice_ci95: by group. hd95 has a value only where neither mask is empty. empty: pairs by which mask is. absent,
    absent_empty: classes asked of images that do not show them, and how many answers were empty.
    """
    present = [pair for pair in pairs if pair.row.present]
    absent = [pair for pair in pairs if not pair.row.present]
    classes: dict[str, list[Pair]] = defaultdict(list)
    for pair in present:
        classes[pair.row.concept].append(pair)
    by_class = {concept: averages(own) for concept, own in sorted(classes.items())}
    return {
        "images": len({(pair.dataset, pair.key) for pair in present}),
        "pairs": len(present),
        **averages(present),
        "dice_ci95": interval(by_group(present, "dice")),
        "dice_of_classes": mean(own["dice"] for own in by_class.values()),
        "iou_of_classes": mean(own["iou"] for own in by_class.values()),
        "units": sorted({pair.row.unit for pair in present if pair.row.hd95 is not None}),
        "empty": dict(sorted(Counter(pair.row.empty for pair in present).items())),
        "absent": len(absent),
        "absent_empty": sum(not pair.row.claimed for pair in absent),
        "detection": Detection.of(m for pair in pairs if (m := pair.row.instances) is not None).facts(),
        "classes": {concept: {"pairs": len(classes[concept]), **own} for concept, own in by_class.items()},
    }


def averages(pairs: Iterable[Pair]) -> dict[str, float | None]:
    """The mean of each figure over the pairs that have it."""
    rows = [pair.row for pair in pairs]
    return {name: mean(getattr(row, name) for row in rows) for name in FIGURES}


def by_group(pairs: Iterable[Pair], figure: str) -> Values:
    """The values of a figure by group; groups of two datasets are never the same."""
    values: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        if (value := getattr(pair.row, figure)) is not None:
            values[f"{pair.dataset}/{pair.group}"].append(value)
    return values


def over_datasets(pairs: Sequence[Pair], figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over datasets that have any pair; every dataset counts alike. `figures`: the summary of each."""
    own = [f for f in figures if f["pairs"]]
    datasets = [
        by_group([p for p in pairs if p.dataset == f["dataset"] and p.row.present], "dice") for f in own
    ]
    names = (*FIGURES, "dice_of_classes", "iou_of_classes")
    return {
        "datasets": len(own),
        **{name: sum(f[name] for f in own) for name in ("images", "pairs", "absent", "absent_empty")},
        **{name: mean(f[name] for f in own) for name in names},
        "dice_ci95": interval_of_datasets(datasets),
    }


def breakdown(pairs: Sequence[Pair], of: Callable[[Pair], str]) -> dict[str, dict[str, Any]]:
    """The pairs whose class is present, by some property: number, images, Dice with interval, and the rest."""
    parts: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.row.present:
            parts[of(pair)].append(pair)
    return {
        name: {
            "pairs": len(own),
            **averages(own),
            "dice_ci95": interval(by_group(own, "dice")),
        }
        for name, own in sorted(parts.items())
    }


def breakdowns(pairs: Sequence[Pair]) -> dict[str, dict[str, dict[str, Any]]]:
    """By concept, by the modality that the catalog gives the dataset, and by the size of the target."""
    catalog = load_catalog()
    sizes = breakdown(pairs, lambda pair: pair.row.size)
    return {
        "concept": breakdown(pairs, lambda pair: pair.row.concept),
        "modality": breakdown(
            pairs, lambda pair: catalog[pair.dataset].modality if pair.dataset in catalog else "unknown"
        ),
        "size": {name: sizes[name] for name, _ in SIZES if name in sizes},
    }


def mean(values: Iterable[float | None]) -> float | None:
    """Arithmetic mean of the values that are there, whatever their order; None of nothing."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
