"""Collect the figures of an evaluation and write them down, each with how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from medshards.evaluate.metrics import Overlap
from medshards.train.model.answers import Rule

NOTE = (
    "Dice and IoU in [0, 1]. pairs: (image, class) pairs whose class occurs in the ground truth; Dice, IoU: mean over "
    "pairs; of classes: mean of the means per class. absent, empty: classes asked of images that do not show them, and "
    "how many of the answers were empty."
)
HEADINGS = ("dataset", "split", "instances", "mask of a class", "images", "pairs")
FIGURES = ("dice", "iou", "dice_of_classes", "iou_of_classes")
COUNTS = ("absent", "absent_empty")


@dataclass
class Tally:
    """Sums over (image, class) pairs."""

    pairs: int = 0
    dice: float = 0.0
    iou: float = 0.0

    def add(self, found: Overlap) -> None:
        """Count one pair."""
        self.pairs += 1
        self.dice += found.dice
        self.iou += found.iou

    def means(self) -> dict[str, Any]:
        """pairs, dice and iou; the means are None without a pair."""
        if not self.pairs:
            return {"pairs": 0, "dice": None, "iou": None}
        return {"pairs": self.pairs, "dice": self.dice / self.pairs, "iou": self.iou / self.pairs}


@dataclass
class Score:
    """One dataset under one rule. classes: tally of every concept that occurs in the ground truth."""

    dataset: str
    split: str
    instances: str  # of the ground truth: native, components or merged; a class is their union
    rule: Rule
    images: int = 0
    classes: dict[str, Tally] = field(default_factory=dict)
    absent: int = 0
    absent_empty: int = 0

    def add(self, concept: str, found: Overlap) -> None:
        """Count one (image, class) pair."""
        self.classes.setdefault(concept, Tally()).add(found)

    def add_absent(self, empty: bool) -> None:
        """Count one class that was asked of an image which does not show it, and whether the answer was empty."""
        self.absent += 1
        self.absent_empty += empty

    def facts(self) -> dict[str, Any]:
        """Everything of it as JSON values."""
        tallies = self.classes.values()
        every = Tally(
            sum(t.pairs for t in tallies), sum(t.dice for t in tallies), sum(t.iou for t in tallies)
        )
        classes = {concept: self.classes[concept].means() for concept in sorted(self.classes)}
        return {
            "dataset": self.dataset,
            "split": self.split,
            "instances": self.instances,
            "aggregate": self.rule.aggregate,
            "min_score": self.rule.min_score,
            "images": self.images,
            **every.means(),
            "dice_of_classes": mean([c["dice"] for c in classes.values()]),
            "iou_of_classes": mean([c["iou"] for c in classes.values()]),
            "absent": self.absent,
            "absent_empty": self.absent_empty,
            "classes": classes,
        }


@dataclass
class Report:
    """A whole evaluation. made: how its figures were made. unreadable: (dataset, sample key, reason)."""

    made: dict[str, Any]
    scores: list[Score] = field(default_factory=list)
    unreadable: list[tuple[str, str, str]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Everything as JSON values."""
        names = ("dataset", "sample", "reason")
        return {
            "made": self.made,
            "datasets": [score.facts() for score in self.scores],
            "unreadable": [dict(zip(names, row, strict=True)) for row in self.unreadable],
        }

    def rows(self) -> list[list[str]]:
        """The cells of the table, each dataset and rule in a row; means over datasets below where there are more."""
        facts = [score.facts() for score in self.scores]
        rows = [
            [f["dataset"], f["split"], f["instances"], str(s.rule), f"{f['images']:,}", f"{f['pairs']:,}"]
            + [_figure(f[name]) for name in FIGURES]
            + [_count(f[name], f["absent"]) for name in COUNTS]
            for s, f in zip(self.scores, facts, strict=True)
        ]
        for rule in dict.fromkeys(s.rule for s in self.scores):
            own = [f for s, f in zip(self.scores, facts, strict=True) if s.rule == rule and f["pairs"]]
            if len(own) > 1:
                sums = [f"{sum(f[name] for f in own):,}" for name in ("images", "pairs")]
                means = [_figure(mean([f[name] for f in own])) for name in FIGURES]
                absent = sum(f["absent"] for f in own)
                counts = [_count(sum(f[name] for f in own), absent) for name in COUNTS]
                rows.append([f"mean of {len(own)} datasets", "", "", str(rule), *sums, *means, *counts])
        return rows

    def markdown(self) -> str:
        """The report as a Markdown page."""
        headings = [*HEADINGS, "Dice", "IoU", "Dice of classes", "IoU of classes", "absent", "empty"]
        rule = ["---" if name in HEADINGS[:4] else "---:" for name in headings]
        lines = ["# Evaluation", ""]
        lines += ["| " + " | ".join(row) + " |" for row in (headings, rule, *self.rows())]
        lines += ["", NOTE, "", "How these figures were made:", ""]
        lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in self.made.items()]
        if self.unreadable:
            lines += ["", f"Not read ({len(self.unreadable)} samples, not in the figures):", ""]
            lines += [f"- {dataset}/{key}: {reason}" for dataset, key, reason in self.unreadable]
        return "\n".join(lines) + "\n"

    def print(self) -> None:
        """Print the table for people; in a pipe nothing is cut off."""
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(width=200, highlight=False)
        table = Table(box=box.SIMPLE, caption=NOTE, caption_justify="left")
        for name in HEADINGS[:4]:
            table.add_column(name)
        for name in (*HEADINGS[4:], "Dice", "IoU", "Dice\nof classes", "IoU\nof classes", "absent", "empty"):
            table.add_column(name, justify="right")
        for row in self.rows():
            table.add_row(*row)
        console.print(table)
        for name, value in self.made.items():
            console.print(f"{name.replace('_', ' ')}: {value}", soft_wrap=True)


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return sum(values) / len(values) if values else None


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _count(value: int, of: int) -> str:
    return f"{value:,}" if of else "-"
