"""From volumes to pictures: which slices become samples, and how their numbers become grey values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from curate.formats.container import Stack, as_labels, require_same_shape
from curate.masks import by_id
from curate.sample import Image, Instance, Sample, SlicePosition
from curate.source import Case, Skip, Source

NOTHING = "volume without annotation"
RULES = "all, annotated, largest, middle, or every K (a number from 1)"


def check_rule(rule: str) -> str:
    """The rule itself. Raises ValueError, with the rules there are, when it is none."""
    if rule not in ("all", "annotated", "largest", "middle") and _step(rule) is None:
        raise ValueError(f"no such rule for slices: {rule!r}; expected {RULES}")
    return rule


def choose(rule: str, annotated: Sequence[int]) -> list[int]:
    """Indices of the slices of a volume that become samples, in ascending order.

    annotated: number of annotated pixels of each slice, for all slices of the volume.
    rule: all; annotated, those with any annotation; largest, the one with the most annotated pixels (the first
        on a tie, none in a volume without annotation); middle, number count // 2; every K, numbers 0, K, 2K …

    Raises ValueError for any other rule.
    """
    check_rule(rule)
    count = len(annotated)
    if rule == "annotated":
        return [index for index, pixels in enumerate(annotated) if pixels]
    if rule == "largest":
        return [max(range(count), key=lambda index: annotated[index])] if any(annotated) else []
    if rule == "middle":
        return [count // 2] if count else []
    return list(range(0, count, _step(rule) or 1))


def _step(rule: str) -> int | None:
    match = re.fullmatch(r"every ([1-9]\d*)", rule)
    return int(match[1]) if match else None


def to_grey(values: NDArray, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Values of a slice as grey levels, uint8: the window's lower end and below is 0, its upper end and above 255.

    window: (low, high) in the unit of the values.
    """
    low, high = window
    scaled = (values.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def percentile_window(slices: Iterable[NDArray], low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """The window between two percentiles of a volume's non-zero values; (0, 1) when all are zero.

    For intensities without a unit (magnetic resonance, fluorescence): zero is the blank around the object, and
    the ends are cut because a few outliers would otherwise decide the brightness of the whole volume.
    slices: H×W integers or reals, visited once.
    """
    values: NDArray = np.empty(0)
    counts: NDArray = np.empty(0, np.int64)
    for part in slices:
        found, number = np.unique(part[part != 0], return_counts=True)
        values, inverse = np.unique(np.concatenate([values, found]), return_inverse=True)
        counts = np.bincount(inverse, np.concatenate([counts, number]), values.size).astype(np.int64)
    if not values.size:
        return 0.0, 1.0
    below = np.cumsum(counts)
    ends = np.searchsorted(below, np.array([low, high]) / 100 * below[-1])
    return float(values[ends[0]]), float(values[ends[1]])


def samples_by_id(
    source: Source, case: Case, image: Stack, labels: Stack, label: str
) -> Iterator[Sample | Skip]:
    """The samples of a volume whose label values are ids of objects of one native label: one for each chosen slice.

    8-bit pixels stay as they are; others become grey levels within the volume's percentile window, which is
    recorded. Raises Reject (`size_mismatch`, `label_not_integer`, `unreadable`).
    """
    require_same_shape(labels, image)
    chosen = choose(source.slices, labels.annotated())
    if not chosen:
        yield Skip(labels.file.name, NOTHING)
        return
    window = percentile_window(image) if image[0].dtype != np.uint8 else None
    for index in chosen:
        pixels = image[index] if window is None else to_grey(image[index], window)
        concept, ids = source.concept(label, labels.file), as_labels(labels[index], labels.file)
        yield Sample(
            f"{case.key}-{index:04d}",
            Image(pixels),
            [Instance(concept, region, label, number) for number, region in by_id(ids).items()],
            case.group,
            case.split,
            position=SlicePosition(case.key, index, len(labels)),
            extra={} if window is None else {"window": list(window)},
        )
