"""The figures of an evaluation and how each was made: for a terminal, as JSON, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from medshards.common.console import page_console
from medshards.evaluate.report.rows import Measured, Pair, pairs_of
from medshards.evaluate.report.tables import FIGURES, breakdown, breakdowns, over_datasets, summary
from medshards.train.model.answers import Rule

NOTE = (
    "Dice, IoU and NSD in [0, 1]; HD95 in px, or mm where the data have a spacing. pairs: (image, class) pairs whose "
    "class occurs in the ground truth; figures: mean over pairs, [95 % interval by patient, video or volume]; of "
    "classes: mean of the means per class. absent, empty: classes asked of images that do not show them, and how many "
    "of the answers were empty."
)
VOLUMES = "Whole volumes"
EMPTY_NOTE = (
    "Empty masks: Dice, IoU and NSD are 0 and HD95 has no value where the prediction is empty; such pairs are counted "
    "under 'nothing predicted'."
)


@dataclass
class Report:
    """A whole evaluation. made: how its figures were made. datasets: split and instance policy of each, by slug."""

    made: dict[str, Any]
    datasets: Mapping[str, tuple[str, str]]
    rules: Sequence[Rule]
    samples: Sequence[Measured] = field(default_factory=list)
    listening: Sequence[Sequence[str]] = ()

    @cached_property
    def pairs(self) -> dict[Rule, list[Pair]]:
        """All pairs by rule."""
        return {rule: list(pairs_of(self.samples, str(rule))) for rule in self.rules}

    @cached_property
    def volumes(self) -> dict[Rule, dict[str, dict[str, Any]]]:
        """Figures of whole volumes under each rule, by dataset; none where there are no volumes."""
        found = {rule: list(pairs_of(self.samples, str(rule), volumes=True)) for rule in self.rules}
        return {rule: breakdown(pairs, lambda pair: pair.dataset) for rule, pairs in found.items()}

    @property
    def unreadable(self) -> list[tuple[str, str, str]]:
        """(dataset, sample key, reason) of what is in no figure."""
        return [(s.dataset, s.key, s.problem) for s in self.samples if s.problem is not None]

    @cached_property
    def scores(self) -> dict[Rule, list[dict[str, Any]]]:
        """The summary of each dataset under each rule."""
        found = {}
        for rule in self.rules:
            own = []
            for slug, (split, instances) in self.datasets.items():
                made = {"dataset": slug, "split": split, "instances": instances}
                own.append(
                    {**made, **rule.facts(), **summary([p for p in self.pairs[rule] if p.dataset == slug])}
                )
            found[rule] = own
        return found

    @cached_property
    def overall(self) -> dict[Rule, dict[str, Any]]:
        """Means over datasets under each rule."""
        return {rule: over_datasets(self.pairs[rule], self.scores[rule]) for rule in self.rules}

    def facts(self) -> dict[str, Any]:
        """Everything as JSON values."""
        names = ("dataset", "sample", "reason")
        return {
            "made": self.made,
            "datasets": [
                own for slug in range(len(self.datasets)) for own in (s[slug] for s in self.scores.values())
            ],
            "mean_of_datasets": [{**rule.facts(), **own} for rule, own in self.overall.items()],
            "breakdowns": {str(rule): breakdowns(self.pairs[rule]) for rule in self.rules},
            "volumes": {str(rule): parts for rule, parts in self.volumes.items() if parts},
            "unreadable": [dict(zip(names, row, strict=True)) for row in self.unreadable],
        }

    def saved(self) -> dict[str, Any]:
        """`facts`, and every row: what `medshards evaluate --compare` reads."""
        return {**self.facts(), "samples": [sample.facts() for sample in self.samples]}

    def markdown(self) -> str:
        """The report as a Markdown page."""
        lines = ["# Evaluation"]
        for rule in self.rules:
            lines += ["", f"## Mask of a class: {rule}", "", *markdown_table(HEADINGS, self.rows(rule))]
            if parts := self.volumes[rule]:
                lines += ["", f"### {VOLUMES}", "", *markdown_table(("dataset", *PARTS), part_rows(parts))]
            for what, parts in breakdowns(self.pairs[rule]).items():
                lines += ["", f"### By {what}", "", *markdown_table((what, *PARTS), part_rows(parts))]
        if self.listening:
            headings = ("", "this model", "before")[: len(self.listening[0])]
            lines += ["", "## Does it still listen?", "", *markdown_table(headings, self.listening)]
        lines += ["", NOTE, "", EMPTY_NOTE, "", "How these figures were made:", ""]
        lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in self.made.items()]
        lines += [f"- instances of {slug}: {how}" for slug, (_, how) in self.datasets.items()]
        if self.unreadable:
            lines += ["", f"Not read ({len(self.unreadable)} samples, not in the figures):", ""]
            lines += [f"- {dataset}/{key}: {reason}" for dataset, key, reason in self.unreadable]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """A line for each dataset and rule, with all digits; empty where there is no figure."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(
            ("mask", "dataset", "split", *COLUMNS, "nothing_predicted", "cgF1", "dice_low", "dice_high")
        )
        for rule, scores in self.scores.items():
            for own in scores:
                ends = own["dice_ci95"] or (None, None)
                more = (own["empty"].get("prediction", 0), own["detection"]["cgF1"], *ends)
                lines.writerow([rule, own["dataset"], own["split"], *(own[name] for name in COLUMNS), *more])
        return text.getvalue()

    def rows(self, rule: Rule) -> list[list[str]]:
        """The cells of a rule's table, a dataset a row; the means over datasets below where there are more."""
        rows = [[f"{own['dataset']} ({own['split']})", *cells(own)] for own in self.scores[rule]]
        overall = self.overall[rule]
        if overall["datasets"] > 1:
            rows.append([f"mean of {overall['datasets']} datasets", *cells(overall)])
        return rows

    def print(self) -> None:
        """Print the tables for people, within 80 columns."""
        out = console()
        for rule in self.rules:
            rows = self.rows(rule)
            for title, columns in ((f"mask of a class: {rule}", FIRST), ("", SECOND)):
                cells = [[row[k] for k in columns] for row in rows]
                out.print(table(title, [HEADINGS[k] for k in columns], cells))
            if parts := self.volumes[rule]:
                out.print(table(VOLUMES.lower(), ("dataset", *PARTS), part_rows(parts)))
        if self.listening:
            models = ("this model", "before")[: len(self.listening[0]) - 1]
            out.print(table("does it still listen?", ("", *models), self.listening))
        out.print(NOTE, EMPTY_NOTE, sep="\n", markup=False)
        for name, value in self.made.items():
            out.print(f"{name.replace('_', ' ')}: {value}", soft_wrap=True, markup=False)


HEADINGS = (
    "dataset", "images", "pairs", "Dice", "95 %", "IoU", "HD95", "NSD", "of classes", "nothing predicted", "cgF1",
    "absent", "empty",
)  # fmt: skip
FIRST, SECOND = (0, 1, 2, 3, 4, 5, 6, 7), (0, 8, 9, 10, 11, 12)  # the table in two, for 80 columns
COLUMNS = (
    "images", "pairs", *FIGURES, "dice_of_classes", "iou_of_classes", "absent", "absent_empty",
)  # fmt: skip
PARTS = ("pairs", "Dice", "95 %", "IoU", "HD95", "NSD")


def cells(own: Mapping[str, Any]) -> list[str]:
    """The cells of one row behind its name."""
    return [
        f"{own['images']:,}",
        f"{own['pairs']:,}",
        figure(own["dice"]),
        shown_interval(own["dice_ci95"]),
        figure(own["iou"]),
        figure(own["hd95"], 1),
        figure(own["nsd"]),
        figure(own["dice_of_classes"]),
        f"{own['empty'].get('prediction', 0):,}" if "empty" in own else "",
        figure(own["detection"]["cgF1"]) if "detection" in own else "",
        f"{own['absent']:,}" if own["absent"] else "-",
        f"{own['absent_empty']:,}" if own["absent"] else "-",
    ]


def part_rows(parts: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The cells of a breakdown."""
    return [
        [
            name,
            f"{own['pairs']:,}",
            figure(own["dice"]),
            shown_interval(own["dice_ci95"]),
            figure(own["iou"]),
            figure(own["hd95"], 1),
            figure(own["nsd"]),
        ]
        for name, own in parts.items()
    ]


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for a terminal; columns that are empty in every row are left out."""
    used = [k for k, _ in enumerate(headings) if k == 0 or any(row[k] not in ("", "-") for row in rows)]
    shown = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", padding=(0, 1, 0, 0))
    for k in used:
        justify = "left" if k == 0 else "right"
        shown.add_column(headings[k], justify=justify, overflow="fold", no_wrap=False)  # type: ignore[arg-type]
    for row in rows:
        shown.add_row(*(row[k] for k in used))
    return shown


def console() -> Console:
    """Where tables go: the terminal's width, 80 columns elsewhere."""
    return page_console(80)


def figure(value: float | None, digits: int = 4) -> str:
    """A figure, '-' for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def shown_interval(ends: tuple[float, float] | None) -> str:
    """An interval of figures in [0, 1]: .812–.934."""
    return "-" if ends is None else "–".join(f"{end:.3f}".removeprefix("0") for end in ends)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, numbers from the second column on."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (headings, rule, *rows)
    ]
