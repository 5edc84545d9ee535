"""The command `medshards catalog`: which datasets there are, how to get them, what may be done with them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medshards.common.commands import Group, json_option, own_catalogs
from medshards.common.text import near
from medshards.curate.catalog.entry import (
    AccessKind,
    CatalogError,
    Entry,
    Known,
    Licence,
    Role,
    load_catalog,
    no_dataset,
)
from medshards.curate.catalog.sheet import figure, sheet_of
from medshards.curate.catalog.terms import USES, allows

COLUMNS = (
    "modality",
    "slug",
    "title",
    "images",
    "annotations",
    "median px",
    "licence",
    "commercial",
    "access",
)
FIGURES = ("images", "annotations", "median px")
WIDE = 140  # columns of a terminal from which titles and licences are shown

as_json = json_option("what is listed")


@click.group(cls=Group, invoke_without_command=True)
@click.option("--modality", metavar="WORD", help="Only modalities with this word in them.")
@click.option("--role", type=click.Choice(get_args(Role)), help="Only datasets of this role.")
@click.option(
    "--licence",
    metavar="USE|WORD",
    help="Only licences that allow a use (commercial, research, redistributable) or have this word in their name.",
)
@click.option(
    "--commercial", type=click.Choice(get_args(Known)), help="Only datasets whose commercial use is this."
)
@click.option(
    "--access", type=click.Choice(get_args(AccessKind)), help="Only datasets with this kind of access."
)
@own_catalogs
@as_json
@click.pass_context
def catalog(ctx: click.Context, /, extra: tuple[Path, ...], as_json: bool, **filters: str | None) -> None:
    """List the datasets, as in Table 1 of the paper; `catalog show SLUG` tells all of one.

    Figures are those printed in the paper where it has any, else the dataset's own.
    """
    try:
        entries = load_catalog(extra=extra)
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
    if ctx.invoked_subcommand is not None:
        if as_json or any(filters.values()):
            raise click.UsageError(
                f"put --json behind '{ctx.invoked_subcommand}'; filters are for the list alone"
            )
        ctx.obj = entries
        return
    chosen = [entry for entry in entries.values() if _fits(entry, **filters)]
    if not chosen:
        raise click.UsageError(_nothing(entries.values(), filters))
    if as_json:
        click.echo(
            json.dumps([entry.model_dump(mode="json") for entry in chosen], indent=2, ensure_ascii=False)
        )
    else:
        _print_list(chosen)


@catalog.command()
@click.argument("slug")
@as_json
@click.pass_obj
def show(entries: dict[str, Entry], slug: str, as_json: bool) -> None:
    """Show all that is known of the dataset SLUG, and what is not."""
    entry = entries.get(slug)
    if entry is None:
        raise click.BadParameter(no_dataset(slug, entries), param_hint="SLUG")
    if as_json:
        click.echo(json.dumps(entry.model_dump(mode="json"), indent=2, ensure_ascii=False))
        return
    sheet = Table.grid(padding=(0, 2))
    for name, lines in sheet_of(entry):
        for k, line in enumerate(lines):
            sheet.add_row(Text(name if k == 0 else "", style="bold"), Text(line, overflow="fold"))
    _print(sheet)


def _fits(
    entry: Entry,
    modality: str | None,
    role: str | None,
    licence: str | None,
    commercial: str | None,
    access: str | None,
) -> bool:
    return (
        (modality is None or modality.casefold() in entry.modality.casefold())
        and (role is None or role == entry.role)
        and (licence is None or _licensed(entry.licence, licence.casefold()))
        and (commercial is None or commercial == entry.licence.commercial)
        and (access is None or access == entry.access.kind)
    )


def _nothing(entries: Iterable[Entry], filters: Mapping[str, str | None]) -> str:
    """What to say when the filters leave no dataset: what they could have been."""
    modality = filters["modality"]
    if modality is not None and not any(
        modality.casefold() in entry.modality.casefold() for entry in entries
    ):
        known = list(dict.fromkeys(entry.modality for entry in entries))
        return f"no modality {modality!r}{near(modality, known) or '; there are ' + ', '.join(known)}"
    licence = filters["licence"]
    if licence is not None and not any(_licensed(entry.licence, licence.casefold()) for entry in entries):
        return f"no licence {licence!r}; expected a use ({', '.join(USES)}) or a word of a licence's name, such as CC"
    given = " ".join(f"--{name} {value}" for name, value in filters.items() if value)
    return f"no dataset fits {given} together; leave one out"


def _licensed(licence: Licence, wanted: str) -> bool:
    """Whether a licence allows the use of that name, or has the word in its name."""
    for use in USES:
        if use == wanted:
            return allows(licence, use) == "yes"
    return wanted in f"{licence.name} {licence.spdx or ''}".casefold()


def _print_list(entries: list[Entry]) -> None:
    """The datasets by modality, in the order of the catalog, as in Table 1 of the paper.

    In a pipe the modality is a column; a narrow terminal goes without titles and licences.
    """
    console = Console()
    columns = list(COLUMNS)
    if console.is_terminal:
        columns.remove("modality")
    if console.is_terminal and console.width < WIDE:
        columns = [name for name in columns if name not in ("title", "licence")]
    table = Table(box=None, pad_edge=False, padding=(0, 2 if "title" in columns else 1, 0, 0))
    for name in columns:
        whole = name not in ("title", "licence")
        table.add_column(name, justify="right" if name in FIGURES else "left", overflow="fold", no_wrap=whole)
    order = list(dict.fromkeys(entry.modality for entry in entries))
    by_modality = sorted(entries, key=lambda entry: order.index(entry.modality))
    for modality, group in groupby(by_modality, key=lambda entry: entry.modality):
        if console.is_terminal:
            table.add_row(Text(modality, style="bold"))
        for entry in group:
            cells = _cells(entry)
            table.add_row(*(Text(cells[name]) for name in columns))
    _print(table)
    if console.is_terminal:
        click.echo(_totals(entries))


def _cells(entry: Entry) -> dict[str, str]:
    figures = entry.paper or entry.official
    return {
        "modality": entry.modality,
        "slug": entry.slug,
        "title": entry.title,
        "images": figure(figures.images),
        "annotations": figure(figures.annotations),
        "median px": figure(figures.median_area),
        "licence": entry.licence.name,
        "commercial": entry.licence.commercial,
        "access": entry.access.kind,
    }


def _totals(entries: list[Entry]) -> str:
    rows = [entry.paper for entry in entries if entry.paper]
    images, annotations = sum(row.images for row in rows), sum(row.annotations for row in rows)
    return (
        f"{len(entries)} datasets; {len(rows)} of them in Table 1 of the paper, "
        f"printed with {images:,} images and {annotations:,} annotations"
    )


def _print(table: Table) -> None:
    """Fit a table into the terminal; in a pipe every row is one line, whole and without colour."""
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    page = io.StringIO()
    Console(file=page, width=10_000, color_system=None).print(table)
    for line in page.getvalue().splitlines():
        click.echo(line.rstrip())
