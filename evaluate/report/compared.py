"""Two models side by side: every dataset, or the sets of the paper's Table 3; the same table in every form."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medshards.evaluate.bootstrap import interval_of_difference
from medshards.evaluate.report.compared_page import page
from medshards.evaluate.report.page import Draw
from medshards.evaluate.report.table3 import ROLES, Printed, printed
from medshards.evaluate.report.tables import by_group, mean
from medshards.evaluate.report.text import Report, markdown_table
from medshards.train.model.answers import Rule

MODELS = "AB"  # in headings: names of files are long
PRINTED = ("SAM3 Dice", "SAM3 IoU", "Medical SAM3 Dice", "Medical SAM3 IoU")


@dataclass(frozen=True)
class Compared:
    """One table. rows: cells. records: the same as JSON values. second: the column that begins its second half."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    records: Sequence[dict[str, Any]]
    notes: Sequence[str]
    second: int | None = None

    def narrow(self) -> list[Compared]:
        """In two, for 80 columns, where it is wide."""
        if self.second is None:
            return [self]
        halves = [[0, *range(1, self.second)], [0, *range(self.second, len(self.headings))]]
        return [
            Compared(
                title,
                [self.headings[k] for k in columns],
                [[row[k] for k in columns] for row in self.rows],
                self.records,
                self.notes,
            )
            for title, columns in zip((self.title, ""), halves, strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return {"title": self.title, "rows": list(self.records), "notes": list(self.notes)}


def tables(reports: Sequence[Report], names: Sequence[str], paper: bool) -> list[Compared]:
    """A table for each rule that all reports have. Raises ValueError when they share none."""
    rules = common_rules(reports)
    notes = [f"{MODELS[k]}: {name}" for k, name in enumerate(names)]
    digests = {report.made.get("corpus_digest") for report in reports}
    if len(digests) > 1:
        notes.append("note: the reports are of different corpora; Δ is not paired where samples differ")
    return [_paper(reports, rule, notes) if paper else _plain(reports, rule, notes) for rule in rules]


def common_rules(reports: Sequence[Report]) -> list[list[Rule]]:
    """Of each rule that all reports have, the rule of each: calibrated scores are a model's own. Raises ValueError."""
    known = [{str(rule): rule for rule in report.rules} for report in reports]
    shared = [name for name in known[0] if all(name in own for own in known)]
    if not shared:
        raise ValueError(
            "the reports have no rule for a class's mask in common; evaluate both with the same ones"
        )
    return [[own[name] for own in known] for name in shared]


def _plain(reports: Sequence[Report], rules: Sequence[Rule], notes: Sequence[str]) -> Compared:
    slugs = sorted({slug for report in reports for slug in report.datasets})
    records = [{"dataset": slug, **_measured(reports, slug, rules)} for slug in slugs]
    every = [record for record in records if None not in record["dice"]]  # the same datasets for each model
    records.append({"dataset": f"mean of {len(every)} datasets", **_average(every, len(reports))})
    rows = [[record["dataset"], *_cells(record)] for record in records]
    title = f"mask of a class: {rules[0]}"
    return Compared(title, ["dataset", *_headings(len(reports))], rows, records, notes)


def _paper(reports: Sequence[Report], rules: Sequence[Rule], notes: Sequence[str]) -> Compared:
    records: list[dict[str, Any]] = []
    for row in printed():
        if row.slug:
            own = _measured(reports, row.slug, rules)
            missing = _missing(row, reports, own)
        else:
            members = [r for r in records if r["role"] == row.role and r["missing"] is None]
            own = _average(members, len(reports))
            lacking = sum(r["role"] == row.role for r in records) - len(members)
            missing = f"{lacking} sets missing" if lacking else None
        facts = {"role": row.role, "dataset": row.slug or None, "name": row.name, "missing": missing}
        records.append({**facts, "paper_dice": row.dice, "paper_iou": row.iou, **own})
    rows = [
        [r["name"], *(f"{v:.1f}" for pair in zip(r["paper_dice"], r["paper_iou"]) for v in pair), *_cells(r)]
        for r in records
    ]
    absent = [f"{r['name']}: {r['missing']}" for r in records if r["missing"]]
    headings = ["set", *PRINTED, *_headings(len(reports))]
    source = "SAM3, Medical SAM3: as printed in Table 3 of arXiv 2601.10880; all in percent"
    title = f"Table 3, mask of a class: {rules[0]}"
    return Compared(title, headings, rows, records, [source, *notes, *absent], 1 + len(PRINTED))


def _measured(reports: Sequence[Report], slug: str, rules: Sequence[Rule]) -> dict[str, Any]:
    """Dice and IoU of each model on a dataset in percent, their difference, and its paired interval."""
    each = list(zip(reports, rules, strict=True))
    own = [next((s for s in report.scores[rule] if s["dataset"] == slug), None) for report, rule in each]
    dice = [None if s is None or s["dice"] is None else 100 * s["dice"] for s in own]
    iou = [None if s is None or s["iou"] is None else 100 * s["iou"] for s in own]
    if len(reports) < 2 or dice[0] is None or dice[1] is None:
        return {"dice": dice, "iou": iou, "delta": None, "delta_ci95": None}
    values = [
        by_group([p for p in report.pairs[rule] if p.dataset == slug and p.row.present], "dice")
        for report, rule in each
    ]
    ends = interval_of_difference(*values)
    interval = None if ends is None else (100 * ends[0], 100 * ends[1])
    return {"dice": dice, "iou": iou, "delta": dice[1] - dice[0], "delta_ci95": interval}


def _average(records: Sequence[dict[str, Any]], models: int) -> dict[str, Any]:
    return {
        "dice": [mean(r["dice"][k] for r in records) for k in range(models)],
        "iou": [mean(r["iou"][k] for r in records) for k in range(models)],
        "delta": mean(r["delta"] for r in records),
        "delta_ci95": None,
    }


def _missing(row: Printed, reports: Sequence[Report], own: dict[str, Any]) -> str | None:
    for report in reports:
        if row.slug not in report.datasets:
            return "not in the corpus, or left out by --datasets"
        split = report.datasets[row.slug][0]
        if split != ROLES[row.role]:
            return f"measured on {split}; the paper has {ROLES[row.role]}"
    return "no image of the split shows its class" if None in own["dice"] else None


def _headings(models: int) -> list[str]:
    own = [f"{MODELS[k]} {what}" for k in range(models) for what in ("Dice", "IoU")]
    return [*own, *(["Δ Dice", "95 %"] if models > 1 else [])]


def _cells(record: dict[str, Any]) -> list[str]:
    cells = [
        "-" if value is None else f"{value:.1f}"
        for pair in zip(record["dice"], record["iou"], strict=True)
        for value in pair
    ]
    if len(record["dice"]) > 1:
        ends = record["delta_ci95"]
        cells.append("-" if record["delta"] is None else f"{record['delta']:+.1f}")
        cells.append("-" if ends is None else f"{ends[0]:+.1f} to {ends[1]:+.1f}")
    return cells


def written(
    found: Sequence[Compared],
    reports: Sequence[Report],
    names: Sequence[str],
    form: str,
    draw: Draw | None = None,
) -> str:
    """The tables as `json`, `csv`, `md`, `tex`, or as an `html` page with bars and, where `draw` is given, pictures."""
    if form == "json":
        return json.dumps([own.facts() for own in found], indent=1) + "\n"
    if form == "html":
        return page(found, common_rules(reports), reports, names, draw)
    return "\n".join({"csv": _csv, "md": _md, "tex": _tex}[form](own) for own in found)


def _csv(own: Compared) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([own.headings, *own.rows])
    return text.getvalue()


def _md(own: Compared) -> str:
    lines = markdown_table(own.headings, own.rows)
    return "\n".join([f"## {own.title}", "", *lines, "", *(f"- {note}" for note in own.notes), ""])


def _tex(own: Compared) -> str:
    head, *rest = [" & ".join(map(_escaped, row)) + r" \\" for row in (own.headings, *own.rows)]
    notes = [f"% {note}" for note in (own.title, *own.notes)]
    begin, end = rf"\begin{{tabular}}{{l{'r' * (len(own.headings) - 1)}}}", r"\end{tabular}"
    return "\n".join([*notes, begin, r"\hline", head, r"\hline", *rest, r"\hline", end, ""])


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\textbackslash{}")
    for plain in "&%_#$":
        text = text.replace(plain, f"\\{plain}")
    return text.replace("Δ", r"$\Delta$")
