"""The tables of `medshards stats`: what a corpus holds, and the audit of the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from medshards.curate.catalog.entry import Entry
from medshards.shards.prove.audit import FIGURES, Row, audit, certainty, figures, number, summary

MARK = "✓ the paper's rule gives the printed figure on this corpus"


def print_stats(measured: Sequence[dict[str, Any]], catalog: dict[str, Entry]) -> None:
    """Print the measurements of `corpus_stats`; in a pipe nothing is cut off."""
    console = _console()
    table = Table(box=box.SIMPLE, caption=f"area in px; {MARK}")
    table.add_column("dataset")
    for title in ("images", "annotations", "median area", "train", "val", "test", "rejects"):
        table.add_column(title, justify="right")
    table.add_column("paper's rule, measured here")
    table.add_column("printed in Table 1")
    printed = {row.slug: row for row in audit(measured, catalog)}
    for row in measured:
        splits = [number(row["splits"][s]["images"]) for s in ("train", "val", "test")]
        cells = [number(row[f]) for f in FIGURES]
        paper = printed.get(row["slug"])
        beside = (figures(paper.measured, paper.agreements), figures(paper.printed)) if paper else ("-", "-")
        table.add_row(row["slug"], *cells, *splits, number(row["rejects"]), *beside)
    console.print(table)
    concepts = {c for row in measured for c in row["concepts"]}
    images = sum(row["images"] for row in measured)
    annotations = sum(row["annotations"] for row in measured)
    console.print(
        f"{len(measured)} datasets, {images:,} images, {annotations:,} annotations, {len(concepts)} concepts"
    )


def print_audit(rows: Sequence[Row]) -> None:
    """Print every row of Table 1 beside what was measured, then the reasons where they differ."""
    console = _console()
    table = Table(box=box.SIMPLE, caption=f"images / annotations / median area in px; {MARK}")
    for title in (
        "dataset",
        "printed in Table 1",
        "paper's rule, measured here",
        "the rule gives the figure",
    ):
        table.add_column(title)
    modality = None
    for row in rows:
        if row.modality != modality:
            table.add_row(f"[bold]{row.modality}[/]")
            modality = row.modality
        measured = figures(row.measured, row.agreements) if row.measured else f"[dim]{row.reason}[/]"
        table.add_row(row.slug, figures(row.printed), measured, certainty(row))
    console.print(table)
    console.print(summary(rows))
    for row in rows:
        if row.measured and row.reason:
            console.print(f"[bold]{row.slug}[/]: {row.reason}")


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=200, highlight=False)
