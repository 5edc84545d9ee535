"""What `medshards prompts show` tells of sets, families and texts, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from medshards.common.console import page_console
from medshards.evaluate.prompts.families.catalog import families
from medshards.evaluate.prompts.families.texts import listed

WIDTH = 80  # of a table in a pipe


def by_family(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a family: how many prompts of each severity were made, and how many are empty or unreachable."""
    rows: dict[str, dict[str, Any]] = {}
    for concepts in manifest["counts"].values():
        for family, severities in concepts.items():
            row = rows.setdefault(family, {"family": family, "made": 0, "empty": 0, "unreachable": 0})
            for states in severities.values():
                for state, count in states.items():
                    row[state] += count
    return [rows[f["id"]] for f in manifest["families"] if f["id"] in rows]


def family_rows() -> list[dict[str, Any]]:
    """A row a family of perturbations."""
    return [
        {
            "id": f.id,
            "kind": f.kind,
            "ladder": f.ladder,
            "core": "yes" if f.core else "",
            "expected": f.expected,
            "what": f.title,
        }
        for f in families()
    ]


def text_rows() -> list[dict[str, Any]]:
    """A row a text prompt, by concept and family."""
    return [{"concept": c, "family": f, "text": t} for c, f, t in listed()]


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table."""
    console = page_console(WIDTH)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for number, heading in enumerate(rows[0] if rows else ()):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    console.print(table)


def summary(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a set is, and how many of its prompts are empty or unreachable."""
    rows = by_family(manifest)
    sums = {state: sum(row[state] for row in rows) for state in ("empty", "unreachable")}
    return {k: manifest[k] for k in ("dataset", "set", "part", "prompts", "digest")} | sums
