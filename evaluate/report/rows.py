"""What is measured of one sample, small enough to keep for all of them: every figure of a report is made from these.

A row is one (image, class) pair under one rule. Sorted by sample, so the order in which work finished leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medshards.evaluate.detection import Matches

SIZES = (("below 0.1 %", 0.001), ("0.1 to 1 %", 0.01), ("1 to 10 %", 0.1), ("above 10 %", 1.0))
"""Target size classes: the share of the image that the class covers, up to and without the limit."""


@dataclass(frozen=True)
class Row:
    """One class asked of one image (or volume), under one rule.

    truth: px of the class, 0 where it is absent. pixels: of the image. dice, iou, hd95, nsd: None where the class is
    absent (and hd95 without a prediction); unit of hd95: mm or px. empty: which mask is (metrics.Emptiness).
    claimed: whether the answer has a pixel by itself, before contested pixels were given away. score: of the best
    instance. matches: (predicted, true, IoUs of the matches) of instances.
    """

    rule: str
    concept: str
    text: str
    truth: int
    pixels: int
    empty: str
    claimed: bool
    score: float
    dice: float | None = None
    iou: float | None = None
    hd95: float | None = None
    nsd: float | None = None
    unit: str = "px"
    matches: tuple[int, int, tuple[float, ...]] | None = None

    @property
    def present(self) -> bool:
        """Whether the image shows the class."""
        return self.truth > 0

    @property
    def size(self) -> str:
        """Its size class."""
        return next(name for name, limit in SIZES if self.truth / self.pixels < limit or limit == 1.0)

    @property
    def instances(self) -> Matches | None:
        """The matches of its instances."""
        return (
            None
            if self.matches is None
            else Matches(self.matches[0], self.matches[1], tuple(self.matches[2]))
        )


@dataclass(frozen=True)
class Measured:
    """All rows of one sample, or why there are none. number: of the sample in its split. volume: these are the rows of
    a whole volume; key is its name, number that of its first slice."""

    dataset: str
    number: int
    key: str
    group: str
    rows: tuple[Row, ...] = ()
    problem: str | None = None
    volume: bool = False

    @property
    def place(self) -> tuple[str, int, bool]:
        """Which sample or volume it is."""
        return self.dataset, self.number, self.volume

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Measured:
        """From JSON values."""
        rows = tuple(Row(**row) for row in facts.pop("rows"))
        return cls(**facts, rows=rows)


@dataclass(frozen=True)
class Pair:
    """A row with where it comes from."""

    dataset: str
    key: str
    group: str
    row: Row


def pairs_of(samples: Sequence[Measured], rule: str, volumes: bool = False) -> Iterator[Pair]:
    """The rows of a rule, of samples or of whole volumes."""
    for sample in samples:
        if sample.volume is volumes:
            for row in sample.rows:
                if row.rule == rule:
                    yield Pair(sample.dataset, sample.key, sample.group, row)
