"""The results of a prompt set: tables for people and programs, and one page that opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medshards.common.files import write_atomically
from medshards.evaluate.prompts.families.catalog import families
from medshards.evaluate.prompts.results.curves import (
    QUANTILES,
    Summary,
    corruption_error,
    prompt_lift,
    rates,
    summarise,
)
from medshards.evaluate.prompts.results.score import Row
from medshards.shards.view.html import templates
from medshards.shards.view.plot import lines

ROWS = "rows.jsonl"
NOTE = (
    "Dice; patients are averaged in a class, then classes (macro). Severity is 1 − Dice (masks) or 1 − IoU (boxes) of "
    "the prompt itself, else the step. AUC: area under the curve over its width. R90, R75, R50: severity at which the "
    "score falls below that part of the perfect prompt's. Gain: score minus that of the prompt given back as the "
    "answer. Unreachable steps, failures and refusals are in no Dice and stand apart."
)


@dataclass(frozen=True)
class Results:
    """The rows of one model on one set, summed up. made: how the figures were made."""

    rows: Sequence[Row]
    summaries: Sequence[Summary]
    made: Mapping[str, Any]

    @classmethod
    def of(cls, rows: Sequence[Row], made: Mapping[str, Any], draws: int = 1000) -> Results:
        """Sum up the rows of a model."""
        there = [f.id for f in families() if not f.reference]
        found = [s for f in there if (s := summarise(rows, f, draws)) is not None]
        return cls(rows, found, made)

    def facts(self, reference: Results | None = None) -> dict[str, Any]:
        """Everything as JSON values. reference: of the model that mCE is relative to."""
        return {
            "made": dict(self.made),
            "families": [_facts(s) for s in self.summaries],
            "prompt_lift": prompt_lift(self.rows),
            "corruption_error": corruption_error(self.summaries, reference.summaries) if reference else None,
            "rates": rates(self.rows),
        }

    def table(self) -> list[dict[str, str]]:
        """A row a family, figures as texts."""
        return [
            {
                "family": s.family,
                "perfect": _figure(s.perfect),
                "AUC": _figure(s.auc),
                "95 %": f"{s.interval[0]:.3f}–{s.interval[1]:.3f}" if s.interval else "-",
                "rel.": _figure(s.relative),
                **{f"R{q * 100:.0f}": _figure(r, 2) for q, r in zip(QUANTILES, s.reach, strict=True)},
                "gain": _figure(s.gain),
                "worst": _figure(s.worst),
            }
            for s in self.summaries
        ]

    def page(self, reference: Results | None = None) -> str:
        """The HTML page. Everything from data is escaped."""
        env = templates(Path(__file__).parent)
        plots = [
            lines(
                s.family,
                "measured severity",
                "Dice",
                {c: list(zip(k.severity, k.score)) for c, k in s.curves.items()},
            )
            for s in self.summaries
        ]
        gains = [
            lines(
                f"{s.family}: copy gain",
                "measured severity",
                "Dice − Dice of the prompt",
                {
                    c: [(x, g) for x, g in zip(k.severity, k.gain) if g is not None]
                    for c, k in s.curves.items()
                },
                -1.0,
                1.0,
            )
            for s in self.summaries
            if s.gain is not None
        ]
        facts = self.facts(reference)
        return env.get_template("page.html.j2").render(
            table=self.table(), plots=plots, gains=gains, note=NOTE, **facts
        )

    def write(self, out: Path, reference: Results | None = None) -> list[Path]:
        """Write rows.jsonl, results.json and report.html into a folder."""
        out.mkdir(parents=True, exist_ok=True)
        files = {
            ROWS: "".join(json.dumps(row.facts()) + "\n" for row in self.rows),
            "results.json": json.dumps(self.facts(reference), indent=1) + "\n",
            "report.html": self.page(reference),
        }
        for name, text in files.items():
            write_atomically(out / name, text.encode())
        return [out / name for name in files]


def read_rows(path: Path) -> list[Row]:
    """The rows of an earlier run. Raises ValueError, which names file and line."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}:{number}: is no row of scores: {error}") from error
    return rows


def _facts(summary: Summary) -> dict[str, Any]:
    return {
        "family": summary.family,
        "kind": summary.kind,
        "classes": summary.classes,
        "patients": summary.patients,
        "perfect": summary.perfect,
        "auc": summary.auc,
        "auc_95": summary.interval,
        "relative_auc": summary.relative,
        **{f"r{q * 100:.0f}": r for q, r in zip(QUANTILES, summary.reach, strict=True)},
        "slope": summary.slope,
        "worst": summary.worst,
        "copy_gain": summary.gain,
        "stability": summary.stable,
        "curves": {
            concept: {
                "severity": made.severity,
                "dice": made.score,
                "copy_gain": made.gain,
                "patients": made.n,
                "auc": made.auc,
                "relative_auc": made.relative,
            }
            for concept, made in summary.curves.items()
        },
    }


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
