"""The report as one HTML page that opens offline: tables, bars, overlays, and how every figure was made.

No script and no file beside it; everything that comes from data is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medshards.evaluate.report.rows import Pair
from medshards.evaluate.report.tables import breakdowns
from medshards.evaluate.report.text import EMPTY_NOTE, HEADINGS, NOTE, PARTS, VOLUMES, Report, part_rows
from medshards.shards.view.drawing import Cell, Row, page
from medshards.shards.view.html import templates
from medshards.train.model.answers import Rule

CASES = 3  # of the best, the middle and the worst
BLUE = "#3b74b8"
Draw = Callable[[Pair], Sequence[Cell]]


def html(report: Report, draw: Draw | None = None) -> str:
    """The page. draw: an (image, class) pair as pictures of truth and prediction; None leaves the overlays out."""
    sections = [_rule(report, rule, draw if rule == report.rules[0] else None) for rule in report.rules]
    if report.listening:
        headings = ("", "this model", "before")[: len(report.listening[0])]
        part = {"title": "", "headings": headings, "rows": report.listening, "note": LISTENING}
        sections.append({"title": "Does it still listen?", "parts": [part]})
    made = [(name.replace("_", " "), str(value)) for name, value in report.made.items()]
    made += [(f"instances of {slug}", how) for slug, (_, how) in report.datasets.items()]
    unreadable = [f"{dataset}/{key}: {reason}" for dataset, key, reason in report.unreadable]
    return render(sections, made, unreadable)


def render(
    sections: Sequence[Mapping[str, Any]], made: Sequence[tuple[str, str]], unreadable: Sequence[str]
) -> str:
    """Fill the template."""
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(sections=sections, made=made, unreadable=unreadable)
    )


LISTENING = (
    "Asked of up to 50 images a dataset: concepts that such a picture cannot show (another modality's or body "
    "region's), everyday words, and present concepts in other words; Dice: mean change from the canonical text."
)


def _rule(report: Report, rule: Rule, draw: Draw | None) -> dict[str, Any]:
    pairs = report.pairs[rule]
    parts: list[dict[str, Any]] = [
        {"title": "", "headings": HEADINGS, "rows": report.rows(rule), "note": f"{NOTE} {EMPTY_NOTE}"}
    ]
    if volumes := report.volumes[rule]:
        note = "(volume, class) pairs, measured in 3D over the slices that the corpus holds."
        headings = ("dataset", *PARTS)
        parts.append({"title": VOLUMES, "headings": headings, "rows": part_rows(volumes), "note": note})
    for what, found in breakdowns(pairs).items():
        note = "Share of the image that the class covers." if what == "size" else ""
        parts.append(
            {
                "title": f"By {what}",
                "headings": (what, *PARTS),
                "rows": part_rows(found),
                "bars": bars_of(found),
                "note": note,
            }
        )
    if draw is not None:
        cases = [
            drawn(f"{title} cases", own, draw, lambda pair: f"Dice {pair.row.dice:.3f}")
            for title, own in chosen(pairs)
        ]
        parts += [part for part in cases if part is not None]
    return {"title": f"Mask of a class: {rule}", "parts": parts}


def chosen(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    """The best, the middle and the worst (image, class) pairs by Dice; none twice."""
    present = sorted(
        (pair for pair in pairs if pair.row.dice is not None),
        key=lambda pair: (-(pair.row.dice or 0.0), pair.dataset, pair.key, pair.row.concept),
    )
    count = min(CASES, -(-len(present) // 3))
    middle = (len(present) - count) // 2
    best, worst = present[:count], present[max(len(present) - count, count) :]
    median = [pair for pair in present[middle : middle + count] if pair not in best and pair not in worst]
    return [("Best", best), ("Median", median), ("Worst", worst)]


def drawn(
    title: str, pairs: Sequence[Pair], draw: Draw, caption: Callable[[Pair], str]
) -> dict[str, Any] | None:
    """Pairs as one picture, a row each; None of none."""
    if not pairs:
        return None
    rows = [
        Row(f"{pair.dataset}/{pair.key}", [pair.row.text, caption(pair)], list(draw(pair))) for pair in pairs
    ]
    data = io.BytesIO()
    page(rows).save(data, "PNG", optimize=True)
    return {"title": title, "image": base64.b64encode(data.getvalue()).decode(), "note": ""}


def bars_of(parts: Mapping[str, Mapping[str, Any]], colour: str = BLUE) -> list[dict[str, Any]]:
    """The Dice of each part of a breakdown as a bar with its interval."""
    return [
        {
            "name": name,
            "value": own["dice"] or 0.0,
            "low": own["dice_ci95"][0] if own["dice_ci95"] else None,
            "high": own["dice_ci95"][1] if own["dice_ci95"] else None,
            "colour": colour,
        }
        for name, own in parts.items()
    ]
