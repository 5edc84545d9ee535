"""Figures of whole volumes, beside those of their slices: 3D Dice, IoU, HD95 and NSD of every class of a volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.evaluate.dataset import truth_of
from medshards.evaluate.metrics import emptiness
from medshards.evaluate.report.rows import Measured, Row
from medshards.evaluate.volumes.stacks import Stack, filled, spacing_of
from medshards.shards.read.decode import Stored

Mask = NDArray[np.bool_]
Figures = Callable[[Mask, Mask, Sequence[float] | None], dict[str, Any]]
"""Dice and the rest of two masks with a spacing in mm, as values of a `Row`."""


class WholeVolume:
    """One volume, while its slices are measured. It is measured over the slices that the corpus holds."""

    def __init__(self, dataset: str, number: int, name: str) -> None:
        """number: of its first slice in the split."""
        self._dataset, self._number, self._name = dataset, number, name
        self._record: dict[str, Any] = {}
        self._truth = Stack()
        self._predicted: dict[str, Stack] = {}
        self._rows: dict[tuple[str, str], Row] = {}
        self._pixels = 0

    def add(self, sample: Stored, rows: Sequence[Row], masks: Mapping[str, Mapping[str, Mask]]) -> None:
        """Add a slice with its rows, and the masks of its classes by rule."""
        if "grid" not in sample.record:
            return
        self._record = sample.record
        index = int(sample.record["slice"][0])
        self._truth.add(index, truth_of(sample))
        for rule, own in masks.items():
            self._predicted.setdefault(rule, Stack()).add(index, own)
        for row in rows:
            best = self._rows.get((row.rule, row.concept))
            if best is None or row.score > best.score:
                self._rows[row.rule, row.concept] = row
        self._pixels += int(np.prod(sample.image.shape[:2]))

    def measured(self, figures: Figures) -> Measured:
        """The rows of the classes that the volume shows; none where no slice was read, or its slices have no grid in
        space, as the frames of a video."""
        group = str(self._record.get("group", ""))
        rows = tuple(self._row(*place, figures) for place in sorted(self._rows) if place[1] in self._truth)
        return Measured(self._dataset, self._number, self._name, group, rows, volume=True)

    def _row(self, rule: str, concept: str, figures: Figures) -> Row:
        best = self._rows[rule, concept]
        mask, own = filled(self._predicted[rule].get(concept, {}), self._truth[concept])
        return Row(
            rule, concept, best.text, int(np.count_nonzero(own)), self._pixels, emptiness(mask, own),
            bool(mask.any()), best.score, **figures(mask, own, spacing_of(self._record)), unit="mm",
        )  # fmt: skip
