"""The tables of `medshards stats`: what a corpus holds, and every row of the paper's Table 1. Whole at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from medshards.common.console import page_console
from medshards.common.text import counted
from medshards.curate.catalog.entry import Entry
from medshards.shards.build.split import SPLITS
from medshards.shards.prove.table1 import FIGURES, Row, certainty, compare, figures, number, summary

MARK = "✓ the paper's rule gives the printed figure on this corpus"
WIDTH = 80


def print_stats(
    measured: Sequence[dict[str, Any]], catalog: dict[str, Entry], console: Console | None = None
) -> None:
    """Print the measurements of `corpus_stats`, and below them those by the paper's rule."""
    console = console or page_console(200)
    table = _table("dataset")
    for title in ("images", *SPLITS, "annotations", "median px"):
        table.add_column(title, justify="right")
    for row in measured:
        images, annotations, median = (number(row[f]) for f in FIGURES)
        splits = [number(row["splits"][s]["images"]) for s in SPLITS]
        table.add_row(row["slug"], images, *splits, annotations, median)
    console.print(table)
    printed = [row for row in compare(measured, catalog) if row.measured is not None]
    if printed:
        paper = _table("dataset", "by the paper's rule", "printed in Table 1")
        for each in printed:
            paper.add_row(each.slug, figures(each.measured, each.agreements), figures(each.printed))
        console.print("\nimages / annotations / median area in px")
        console.print(paper)
        if any(any(each.agreements) for each in printed):
            console.print(MARK)
    for row in measured:
        if row["rejects"]:
            console.print(f"{row['slug']}: {number(row['rejects'])} rejected")
    concepts = {c for row in measured for c in row["concepts"]}
    images, annotations = (sum(row[f] for row in measured) for f in ("images", "annotations"))
    of = counted(len(measured), "dataset")
    console.print(f"\n{of}, {images:,} images, {annotations:,} annotations, {len(concepts)} concepts")


def print_table1(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print every row of Table 1 beside what was measured, then the reasons where they differ."""
    console = console or page_console(200)
    table = _table("dataset", "printed, and whether the rule gives it", "by the rule, measured here")
    modality = None
    for row in rows:
        if row.modality != modality:
            table.add_row(f"[bold]{row.modality}[/]")
            modality = row.modality
        measured = figures(row.measured, row.agreements) if row.measured else f"[dim]{row.reason}[/]"
        table.add_row(row.slug, f"{figures(row.printed)}\n[dim]{certainty(row)}[/]", measured)
    console.print(table)
    console.print(f"images / annotations / median area in px; {MARK}\n")
    console.print(summary(rows))
    for row in rows:
        if row.measured and row.reason:
            console.print(f"[bold]{row.slug}[/]: {row.reason}")


def print_plot(measured: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print a bar for each dataset: its images, in proportion to the largest dataset; validation and test apart."""
    console = console or page_console(200)
    name = max((len(row["slug"]) for row in measured), default=0)
    most = max((row["images"] for row in measured), default=0) or 1
    room = min(console.width, WIDTH) - name - 10
    for row in measured:
        bars = [
            sign * round(room * row["splits"][split]["images"] / most)
            for split, sign in zip(SPLITS, "█▓░", strict=True)
        ]
        console.print(f"{row['slug']:<{name}} {''.join(bars)} {number(row['images'])}")
    console.print("images: █ train ▓ val ░ test")


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
