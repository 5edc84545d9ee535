"""The paired evaluation as tables and as a page that opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from medshards.common.files import write_atomically
from medshards.evaluate.averages import by_patient, macro_mean
from medshards.evaluate.paired.measure import Measured
from medshards.evaluate.paired.statistics import (
    NAMES,
    Difference,
    agreements,
    differences,
    failures,
)
from medshards.shards.view.html import templates
from medshards.shards.view.plot import intervals, scatter

NOTE = (
    "Volume-level figures over the slices of the corpus. Difference: PET minus the structural image, same organ, same "
    "patient, same mask; 95 % interval by bootstrap over patients; p: Wilcoxon signed-rank, Holm-corrected over "
    "organs. Failures count with the score they have (empty: 0), and are told apart below."
)


@dataclass(frozen=True)
class PairedReport:
    """The paired evaluation of one model. made: how its figures were made. in_domain: Dice that the model is known for,
    by whoever stated it."""

    measured: Measured
    made: Mapping[str, Any]
    in_domain: Mapping[str, float]

    @cached_property
    def differences(self) -> Mapping[str, list[Difference]]:
        """Of Dice and NSD, each; see `statistics.differences`."""
        return {figure: differences(self.measured.scores, figure) for figure in ("dice", "nsd")}

    def illusion(self) -> list[dict[str, Any]]:
        """The figures that the model is known for, beside what it reaches here in each modality (macro Dice)."""
        here = {
            NAMES[m]: macro_mean(
                by_patient((s.concept, s.patient, s.dice) for s in self.measured.scores if s.modality == m)
            )
            for m in sorted({s.modality for s in self.measured.scores})
        }
        known: Sequence[tuple[str, float | None]] = list(self.in_domain.items()) or [
            ("not given (--in-domain)", None)
        ]
        return [
            {
                "in domain": name,
                "Dice": value,
                **here,
                **{
                    f"{m} − in domain": dice - value if value is not None else None
                    for m, dice in here.items()
                },
            }
            for name, value in known
        ]

    def facts(self) -> dict[str, Any]:
        """Everything as JSON values."""
        names = ("dataset", "sample", "reason")
        return {
            "made": dict(self.made),
            "differences": [asdict(d) for own in self.differences.values() for d in own],
            "volumes_ml": [asdict(a) for a in agreements(self.measured.scores)],
            "failures": failures(self.measured.scores),
            "illusion": self.illusion(),
            "scores": [s.facts() for s in self.measured.scores],
            "without_partner": self.measured.alone,
            "unreadable": [dict(zip(names, row, strict=True)) for row in self.measured.unreadable],
        }

    def tables(self) -> dict[str, list[dict[str, str]]]:
        """Titles and rows of texts."""
        titles = {"dice": "Dice", "nsd": "NSD"}
        found = {titles[f]: [_row(d) for d in own] for f, own in self.differences.items()}
        found["Volume, predicted − true (ml)"] = [
            {
                "organ": a.concept,
                "image": NAMES[a.modality],
                "n": str(a.n),
                "bias": f"{a.bias:.2f}",
                "limits of agreement": f"{a.low:.2f} to {a.high:.2f}",
            }
            for a in agreements(self.measured.scores)
        ]
        found["Failures"] = [
            {"image": NAMES[m], **{k: str(v) for k, v in own.items()}}
            for m, own in failures(self.measured.scores).items()
        ]
        found["In domain and here (Dice)"] = [
            {k: v if isinstance(v, str) else "-" if v is None else f"{v:.3f}" for k, v in row.items()}
            for row in self.illusion()
        ]
        return found

    def markdown(self) -> str:
        """The report as a Markdown page."""
        lines = ["# Paired evaluation", "", NOTE]
        for title, rows in self.tables().items():
            lines += ["", f"## {title}", ""]
            if rows:
                lines += ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
                lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
        lines += ["", "How these figures were made:", ""]
        lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in self.made.items()]
        return "\n".join(lines) + "\n"

    def page(self) -> str:
        """The report as an HTML page; everything from data is escaped."""
        env = templates(Path(__file__).parent)
        plots = []
        for against in sorted({d.against for d in self.differences["dice"]}):
            rows = [
                (d.concept, d.interval[0], d.difference, d.interval[1])
                for d in self.differences["dice"]
                if d.against == against and d.interval is not None
            ]
            plots.append(intervals(f"Dice, PET − {NAMES[against]}", "difference with 95 % interval", rows))
        for modality in sorted({s.modality for s in self.measured.scores}):
            own = [s for s in self.measured.scores if s.modality == modality]
            gaps = [s.predicted_ml - s.truth_ml for s in own]
            bias, spread = float(np.mean(gaps)), 1.96 * float(np.std(gaps))
            levels = {"bias": bias, "+1.96 SD": bias + spread, "−1.96 SD": bias - spread}
            points = [((s.predicted_ml + s.truth_ml) / 2, s.predicted_ml - s.truth_ml) for s in own]
            plots.append(
                scatter(f"Volume in {NAMES[modality]}", "mean (ml)", "predicted − true (ml)", points, levels)
            )
        return env.get_template("page.html.j2").render(
            note=NOTE, tables=self.tables(), plots=plots, made=self.made, alone=self.measured.alone
        )

    def write(self, out: Path) -> None:
        """As JSON, page or Markdown: .json, .html, .md."""
        out.parent.mkdir(parents=True, exist_ok=True)
        makers = {
            ".json": lambda: json.dumps(self.facts(), indent=1) + "\n",
            ".html": self.page,
            ".md": self.markdown,
        }
        write_atomically(out, makers[out.suffix]().encode())

    def print(self) -> None:
        """Print the tables for people."""
        console = Console(highlight=False)
        for title, rows in self.tables().items():
            if not rows:
                continue
            table = Table(box=box.SIMPLE, title=title, title_justify="left")
            for name in rows[0]:
                table.add_column(
                    name, overflow="fold", justify="left" if name in ("organ", "in domain") else "right"
                )
            for row in rows:
                table.add_row(*row.values())
            console.print(table)
        console.print(NOTE)


def _row(d: Difference) -> dict[str, str]:
    return {
        "organ": d.concept,
        "pair": f"PET − {NAMES[d.against]}",
        "n": str(d.n),
        "struct.": f"{d.structural:.3f}",
        "PET": f"{d.functional:.3f}",
        "diff.": f"{d.difference:+.3f}",
        "95 %": f"{d.interval[0]:+.3f} to {d.interval[1]:+.3f}" if d.interval else "-",
        "p (Holm)": "-" if d.corrected is None else f"{d.corrected:.3g}",
    }
