"""Command `download`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from medshards.common.commands import LocalPath, own_catalogs
from medshards.common.text import printable
from medshards.curate.catalog.accounts import kaggle_of
from medshards.curate.catalog.download import by_hand, hindrance, obstacle
from medshards.curate.catalog.download import download as get
from medshards.curate.catalog.entry import Archive, CatalogError, Entry, load_catalog, no_dataset
from medshards.curate.pseudonyms import load_key, renamed
from medshards.curate.sample import Reject
from medshards.curate.source import get_source, slugs
from medshards.curate.tree import Layout


@click.command()
@click.argument("slug", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dataset that can be fetched; name the others.")
@click.option(
    "--raw",
    type=LocalPath(file_okay=False),
    required=True,
    help="DIR/SLUG takes the files, ready for `build --raw DIR`.",
)
@click.option(
    "--file", "chosen", multiple=True, help="Only this file of the catalog entry, also an optional one."
)
@own_catalogs
def download(
    slug: tuple[str, ...], everything: bool, raw: Path, chosen: tuple[str, ...], extra: tuple[Path, ...]
) -> None:
    """Fetch datasets that are openly reachable; for any other say exactly what to do.

    What lies on Kaggle or Google Drive is fetched too, with your own account, after pip install
    'medshards[download]'. An interrupted download goes on where it was; files are compared with the checksums of the
    catalog, unpacked safely, and DIR/SLUG appears when all is there. DIR/SLUG.download.json says what was fetched and
    when. Whoever downloads accepts the licence that is printed. Exit status 1 when a dataset is not there, and whole,
    at the end; with --all those that have to be fetched by hand are named and do not count.
    """
    try:
        entries = load_catalog(extra=extra)
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
    if bool(slug) == everything:
        raise click.UsageError("name one or more SLUGs, or --all")
    for name in slug:
        if name not in entries:
            raise click.UsageError(no_dataset(name, entries))
    if chosen and len(slug) != 1:
        raise click.UsageError("--file goes with one SLUG")
    whole, by_hands = True, []
    for name in slug or entries:
        entry = entries[name]
        files = _choose(entry, chosen)
        why = obstacle(entry, files)
        if why and everything:
            by_hands.append(f"{name}: {why}")
        elif why:
            click.echo("\n".join(map(printable, by_hand(entry, files, raw, why))))
            whole = False
        elif everything and (raw / name).exists():
            click.echo(f"{name}: {raw / name} is there already")
        else:
            try:
                whole &= _fetch(entry, files, raw)
            except Reject as reject:
                click.echo(f"Error: {name}: {reject}", err=True)
                whole = False
            except OSError as error:
                raise click.ClickException(f"{error.filename or raw}: {error.strerror or error}") from error
    if by_hands:
        click.echo(
            f"to be fetched by hand ({len(by_hands)}; `medshards download SLUG --raw {raw}` says how):"
        )
        click.echo("\n".join(f"  {line}" for line in by_hands))
    if not whole:
        sys.exit(1)


def _fetch(entry: Entry, files: list[Archive], raw: Path) -> bool:
    """Fetch what can be fetched of an entry, say what there is now; whether all of it is there."""
    missing = [] if kaggle_of(entry) else [archive for archive in files if hindrance(archive)]
    licence = entry.licence
    click.echo(
        f"{entry.slug}: licence {licence.name} [{licence.certainty}]; commercial use: {licence.commercial}"
    )
    source = get_source(entry.slug) if entry.slug in slugs() else None
    layouts = source.layouts if source is not None else ()
    try:
        facts = _with_progress(entry, [archive for archive in files if archive not in missing], raw, layouts)
        if source is not None and not missing:
            tree = source.open(raw / entry.slug)[0]
            click.echo(printable(f"{raw / entry.slug}: {tree.layout.title}"))
    except Reject as reject:
        if source is not None and source.private_names and reject.file not in {a.file for a in files}:
            reject.file = renamed(
                load_key(), entry.slug, reject.file
            )  # a member's name may tell of a patient
        raise
    size = sum(file["bytes"] for file in facts["files"])
    count = len(facts["files"])
    click.echo(
        f"{count} {'file' if count == 1 else 'files'}, {size:,} bytes, unpacked into {raw / entry.slug}"
    )
    unchecked = [file["file"] for file in facts["files"] if not file["checked_against_catalog"]]
    if unchecked:
        click.echo(f"no checksum is known of {', '.join(unchecked)}")
    for archive in missing:
        click.echo(f"still to fetch: {hindrance(archive)}; put it into {raw / entry.slug}: {entry.homepage}")
    return not missing


def _choose(entry: Entry, names: tuple[str, ...]) -> list[Archive]:
    """The files of the entry that are wanted: those named, else all that are not optional."""
    known = {archive.file: archive for archive in entry.archives}
    for name in names:
        if name not in known:
            raise click.UsageError(
                f"{entry.slug} has no file {name!r}; it has {', '.join(known) or 'none listed'}"
            )
    return [a for a in entry.archives if (a.file in names if names else not a.optional)]


def _with_progress(
    entry: Entry, files: list[Archive], raw: Path, layouts: tuple[Layout, ...]
) -> dict[str, Any]:
    """Download with a bar for each file; on no terminal a line when a file is there."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done, total=total)

        return get(entry, files, raw, layouts, report, notice=bars.console.print)
