"""Command `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

FORMS = (".json", ".csv", ".md", ".tex", ".html")


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--paper", is_flag=True, help="Table 3 of Medical SAM3: its sets alone, the printed figures beside."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the table here: .json, .csv, .md, .tex or .html.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def compare(reports: tuple[Path, ...], paper: bool, out: Path | None, as_json: bool) -> None:
    """Set one or two models side by side, from REPORTS that `medshards evaluate --out FILE.json` wrote.

    Δ is the second less the first, with its 95 % interval by patient, video or volume, paired.

    \b
    medshards compare sam3.json ours.json
    medshards compare sam3.json ours.json --paper --out table3.tex
    """
    from medshards.common.files import write_atomically
    from medshards.evaluate.report import compared
    from medshards.evaluate.report.saved import ReportError, read_report
    from medshards.evaluate.report.text import console, table

    if len(reports) > 2:
        raise click.UsageError("one or two reports")
    if out is not None and out.suffix not in FORMS:
        raise click.UsageError(f"--out must end in {', '.join(FORMS)}")
    try:
        read = [read_report(path) for path in reports]
        tables = compared.tables(read, [path.stem for path in reports], paper)
    except (ReportError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    facts: list[dict[str, Any]] = [own.facts() for own in tables]
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, compared.written(tables, read, out.suffix[1:]).encode())
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for own in tables:
        console().print(table(own.title, own.headings, own.rows))
        for note in own.notes:
            click.echo(note)
