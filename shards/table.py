"""The table of `medshards stats`: what a corpus holds beside the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from curate.catalog import Entry

FIGURES = ("images", "annotations", "median_area")
AGREES = 0.5  # the paper prints medians without decimals


def print_stats(measured: Sequence[dict[str, Any]], catalog: dict[str, Entry]) -> None:
    """Print the measurements of `corpus_stats`; in a pipe nothing is cut off."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=200, highlight=False)
    table = Table(
        box=box.SIMPLE, caption="area in px; ✓ the paper's rule gives the printed figure on this corpus"
    )
    table.add_column("dataset")
    for title in ("images", "annotations", "median area", "train", "val", "test", "rejects"):
        table.add_column(title, justify="right")
    table.add_column("paper's rule, measured here")
    table.add_column("printed in Table 1")
    for row in measured:
        splits = [number(row["splits"][s]["images"]) for s in ("train", "val", "test")]
        cells = [number(row[f]) for f in FIGURES]
        table.add_row(
            row["slug"], *cells, *splits, number(row["rejects"]), *_beside(row, catalog.get(row["slug"]))
        )
    console.print(table)
    concepts = {c for row in measured for c in row["concepts"]}
    images = sum(row["images"] for row in measured)
    annotations = sum(row["annotations"] for row in measured)
    console.print(
        f"{len(measured)} datasets, {images:,} images, {annotations:,} annotations, {len(concepts)} concepts"
    )


def _beside(row: dict[str, Any], entry: Entry | None) -> tuple[str, str]:
    found = row["table1"]
    if found is None or entry is None or entry.paper is None:
        return "-", "-"
    printed = [getattr(entry.paper, f) for f in FIGURES]
    ours = [
        number(v) + ("✓" if agrees(v, p) else "")
        for v, p in zip((found[f] for f in FIGURES), printed, strict=True)
    ]
    return " / ".join(ours), " / ".join(number(p) for p in printed)


def agrees(measured: float | None, printed: float) -> bool:
    """True when a measured figure is the printed one, rounded."""
    return measured is not None and abs(measured - printed) <= AGREES


def number(value: float | None) -> str:
    """A figure with thousands separators; one decimal where it has one."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
