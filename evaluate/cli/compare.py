"""`evaluate --compare` and `evaluate --paper`: models side by side, and the paper's Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medshards.evaluate.report.page import Draw
    from medshards.evaluate.report.text import Report


def compare(paths: Sequence[Path], paper: bool, out: Path | None, as_json: bool) -> None:
    """Set two saved reports side by side."""
    from medshards.evaluate.report.saved import ReportError, read_report

    try:
        reports = [read_report(path) for path in paths]
    except ReportError as error:
        raise click.ClickException(str(error)) from error
    draw = None
    if out is not None and out.suffix == ".html":
        from medshards.evaluate.report.pictures import Unavailable, drawer_of

        try:
            draw = drawer_of(reports)
        except Unavailable as error:
            click.echo(f"the page has no pictures: {error}", err=True)
    tell(reports, [path.stem for path in paths], paper, out, as_json, draw)


def tell(
    reports: Sequence[Report],
    names: Sequence[str],
    paper: bool,
    out: Path | None,
    as_json: bool,
    draw: Draw | None = None,
) -> None:
    """Print the tables of one or two reports, and write them to `out`."""
    from medshards.common.files import write_atomically
    from medshards.evaluate.report import compared
    from medshards.evaluate.report.text import console, table

    try:
        tables = compared.tables(reports, names, paper)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, compared.written(tables, reports, names, out.suffix[1:], draw).encode())
    if as_json:
        click.echo(compared.written(tables, reports, names, "json"), nl=False)
        return
    for own in tables:
        for part in own.narrow():
            console().print(table(part.title, part.headings, part.rows))
        for note in own.notes:
            click.echo(note)
