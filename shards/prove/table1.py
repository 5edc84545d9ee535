"""Every row of the paper's Table 1 beside what a corpus gives, and why they differ.

The measurement is `shards.stats.table1`, the printed figures, their certainty and the notes are the catalog's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medshards.curate.catalog.entry import Certain, Entry, Paper

FIGURES = ("images", "annotations", "median_area")
HALF = 0.5  # the paper prints medians without decimals
Figures = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Row:
    """A row of Table 1. Figures are images, annotations and median area (px), in this order.

    measured: by the paper's rule on the corpus; None where nothing was measured.
    certainty: of each printed figure, whether the rule gives it on a complete copy (see docs/catalog.md).
    reason: why a figure differs or was not measured; "" when all three agree.
    """

    slug: str
    title: str
    modality: str
    printed: Figures
    measured: Figures | None
    certainty: tuple[Certain, Certain, Certain]
    reason: str

    @property
    def agreements(self) -> tuple[bool, ...]:
        """Of each figure whether the measured one is the printed one."""
        return tuple(agrees(m, p) for m, p in zip(self.measured or (None,) * 3, self.printed, strict=True))


def compare(measured: Sequence[dict[str, Any]], catalog: dict[str, Entry]) -> list[Row]:
    """All rows of Table 1 in the paper's order; `measured` is what `corpus_stats` returns."""
    found = {row["slug"]: row for row in measured}
    return [
        _row(entry, entry.paper, found.get(slug))
        for slug, entry in catalog.items()
        if entry.paper is not None
    ]


def _row(entry: Entry, paper: Paper, found: dict[str, Any] | None) -> Row:
    printed, sure = (_three(paper.model_dump()), _three(paper.certainty.model_dump()))
    measured = _three(found["table1"]) if found and found["table1"] else None
    if found is None:
        reason = "not in this corpus"
    elif measured is None:
        reason = f'cannot be measured: of each volume this corpus holds "{found["slices"]}" slices alone'
    elif all(agrees(m, p) for m, p in zip(measured, printed, strict=True)):
        reason = ""
    elif sure[0] == "reproduced" and measured[0] != printed[0]:
        rest = "" if set(sure) == {"reproduced"} else f"; {paper.note.strip()}"
        reason = f"no complete copy: the rule is known to give {paper.images:,} images on one{rest}"
    else:
        reason = paper.note.strip()
    return Row(entry.slug, paper.row, entry.modality, printed, measured, sure, reason)


def _three(facts: dict[str, Any]) -> Any:
    return tuple(facts[name] for name in FIGURES)


def summary(rows: Iterable[Row]) -> str:
    """How far the comparison came, in a sentence or two."""
    rows = list(rows)
    here = [row for row in rows if row.measured is not None]
    exact = [row for row in here if all(row.agreements)]
    images, annotations = (sum(row.printed[k] or 0 for row in rows) for k in (0, 1))
    ours = [sum(row.measured[k] or 0 for row in here if row.measured) for k in (0, 1)]
    known = [row for row in rows if set(row.certainty) == {"reproduced"}]
    return (
        f"{len(here)} of {len(rows)} datasets measured, {len(exact)} of them with all three figures as printed; "
        f"{ours[0]:,} of {images:,} images, {ours[1]:,} of {annotations:,} annotations. On complete copies the rules "
        f"are known to reproduce all three figures of {len(known)} datasets."
    )


def agrees(measured: float | None, printed: float | None) -> bool:
    """True when a measured figure is the printed one, rounded."""
    return measured is not None and printed is not None and abs(measured - printed) <= HALF


def number(value: float | None) -> str:
    """A figure with thousands separators; one decimal where it has one."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def figures(values: Figures | None, marks: Sequence[bool] = (False,) * 3) -> str:
    """Three figures in one cell, each with a mark where it agrees."""
    if values is None:
        return "-"
    return " / ".join(number(v) + ("✓" if mark else "") for v, mark in zip(values, marks, strict=True))


def certainty(row: Row) -> str:
    """The certainty of the three figures in one cell."""
    return row.certainty[0] if len(set(row.certainty)) == 1 else " / ".join(row.certainty)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as Markdown: a table, then the notes on what differs."""
    lines = [
        "| dataset | printed: images / annotations / median px | measured here | rule gives the figure |",
        "|---|---|---|---|",
    ]
    for row in rows:
        measured = figures(row.measured, row.agreements) if row.measured else row.reason
        lines.append(
            f"| {row.title} (`{row.slug}`) | {figures(row.printed)} | {measured} | {certainty(row)} |"
        )
    lines += ["", summary(rows)]
    notes = [f"- `{row.slug}`: {row.reason}" for row in rows if row.measured and row.reason]
    return "\n".join([*lines, *(["", "Where they differ:", "", *notes] if notes else [])])
