"""Two models on one HTML page: the tables, bars beside each other, and the images on which they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medshards.evaluate.report.page import CASES, Draw, bars_of, drawn, render
from medshards.evaluate.report.rows import Pair
from medshards.evaluate.report.tables import breakdown, breakdowns
from medshards.evaluate.report.text import Report
from medshards.train.model.answers import Rule

if TYPE_CHECKING:
    from medshards.evaluate.report.compared import Compared

COLOURS = ("#98a2b0", "#3b74b8")


def page(
    tables: Sequence[Compared],
    rules: Sequence[Sequence[Rule]],
    reports: Sequence[Report],
    names: Sequence[str],
    draw: Draw | None = None,
) -> str:
    """tables: one for each of the rules. draw: a pair as pictures of the truth and of each model's answer under the
    first rule; None leaves the pictures out."""
    sections = []
    for number, (table, own) in enumerate(zip(tables, rules, strict=True)):
        parts: list[dict[str, Any]] = [
            {"title": "", "headings": table.headings, "rows": table.rows, "note": "; ".join(table.notes)}
        ]
        pairs = [report.pairs[rule] for report, rule in zip(reports, own, strict=True)]
        parts += _bars(pairs, names)
        if number == 0 and draw is not None and len(reports) == 2:
            parts += [
                part for title, cases in chosen(*pairs) if (part := _cases(title, cases, draw)) is not None
            ]
        sections.append({"title": table.title, "parts": parts})
    made = [
        (f"{name}: {what.replace('_', ' ')}", str(value))
        for name, report in zip(names, reports, strict=True)
        for what, value in report.made.items()
    ]
    unread = [
        f"{name}: {dataset}/{key}: {reason}"
        for name, report in zip(names, reports, strict=True)
        for dataset, key, reason in report.unreadable
    ]
    return render(sections, made, unread)


def _bars(pairs: Sequence[Sequence[Pair]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Dice by dataset, and by whatever the one-model page has; a bar for each model."""
    every = [{"dataset": breakdown(own, lambda pair: pair.dataset), **breakdowns(own)} for own in pairs]
    key = ", ".join(f"{'grey' if k == 0 else 'blue'}: {name}" for k, name in enumerate(names))
    parts = []
    for what in every[0]:
        groups = list(dict.fromkeys(group for found in every for group in found[what]))
        bars = [
            bar
            for group in groups
            for found, colour in zip(every, COLOURS, strict=False)
            if group in found[what]
            for bar in bars_of({group: found[what][group]}, colour)
        ]
        parts.append(
            {"title": f"By {what}", "bars": bars, "note": f"Mean Dice with its 95 % interval; {key}."}
        )
    return parts


def chosen(first: Sequence[Pair], second: Sequence[Pair]) -> list[tuple[str, list[tuple[Pair, Pair]]]]:
    """The (image, class) pairs on which the second model gains most, and on which it loses most; none twice."""
    known = {(pair.dataset, pair.key, pair.row.concept): pair for pair in second if pair.row.dice is not None}
    both = [
        (pair, known[place])
        for pair in first
        if pair.row.dice is not None and (place := (pair.dataset, pair.key, pair.row.concept)) in known
    ]
    both.sort(key=lambda two: (-_gain(two), two[0].dataset, two[0].key, two[0].row.concept))
    gains = [two for two in both if _gain(two) > 0][:CASES]
    losses = [two for two in reversed(both) if _gain(two) < 0][:CASES]
    return [("B gains most", gains), ("B loses most", losses)]


def _gain(two: tuple[Pair, Pair]) -> float:
    return (two[1].row.dice or 0.0) - (two[0].row.dice or 0.0)


def _cases(title: str, cases: Sequence[tuple[Pair, Pair]], draw: Draw) -> dict[str, Any] | None:
    captions = {id(a): f"Dice A {a.row.dice:.3f}, B {b.row.dice:.3f}" for a, b in cases}
    return drawn(f"{title}: truth, A, B", [a for a, _ in cases], draw, lambda pair: captions[id(pair)])
