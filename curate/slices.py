"""From volumes to samples: which slices are taken, and the samples of volumes labelled by ids."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.numbers import as_labels
from medshards.curate.formats.volumes.container import Stack, require_same_shape
from medshards.curate.masks import by_id
from medshards.curate.quantise import MAX_VOXELS, percentile_window, to_uint16
from medshards.curate.sample import Image, Instance, Intensity, Sample, SlicePosition
from medshards.curate.source import Case, Skip, Source

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


def samples_by_id(
    source: Source, case: Case, image: Stack, labels: Stack, label: str
) -> Iterator[Sample | Skip]:
    """The samples of a volume whose label values are ids of objects of one native label: one for each chosen slice.

    8-bit pixels stay as they are; others become 16-bit pictures that keep their numbers, shown in the volume's
    percentile window. Raises Reject (`size_mismatch`, `label_not_integer`, `unreadable`).
    """
    require_same_shape(labels, image)
    chosen = choose(source.slices, labels.annotated())
    if not chosen:
        yield Skip(labels.file.name, NOTHING)
        return
    window = None if image[0].dtype == np.uint8 else percentile_window(_thinned(image))
    for index in chosen:
        pixels, intensity = image[index], None
        if window is not None:
            pixels, slope, intercept = to_uint16(pixels)
            intensity = Intensity(slope, intercept, "arbitrary", window)
        concept, ids = source.concept(label, labels.file), as_labels(labels[index], labels.file)
        yield Sample(
            f"{case.key}-{index:04d}",
            Image(pixels),
            [Instance(concept, region, label, number) for number, region in by_id(ids).items()],
            case.group,
            case.split,
            position=SlicePosition(case.key, index, len(labels)),
            intensity=intensity,
        )


def _thinned(image: Stack) -> NDArray[Any]:
    """Every k-th voxel along each axis, about as many as a percentile needs."""
    step = max(1, round((math.prod(image.shape) / MAX_VOXELS) ** (1 / 3)))
    return np.stack([image[index][::step, ::step] for index in range(0, len(image), step)])
