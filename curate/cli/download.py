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

from medshards.common.text import printable
from medshards.curate.catalog.download import by_hand, obstacle
from medshards.curate.catalog.download import download as get
from medshards.curate.catalog.entry import Archive, CatalogError, Entry, load_catalog, no_dataset
from medshards.curate.identity import load_key, renamed
from medshards.curate.sample import Reject
from medshards.curate.source import get_source, slugs
from medshards.curate.tree import Layout


@click.command()
@click.argument("slug")
@click.option(
    "--raw",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="DIR/SLUG takes the files, ready for `build --raw DIR`.",
)
@click.option(
    "--file", "chosen", multiple=True, help="Only this file of the catalog entry, also an optional one."
)
@click.option(
    "--catalog",
    "extra",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A catalog file of your own, added to the built-in one.",
)
def download(slug: str, raw: Path, chosen: tuple[str, ...], extra: tuple[Path, ...]) -> None:
    """Fetch a dataset that is openly reachable; for any other say exactly what to do.

    An interrupted download goes on where it was; files are compared with the checksums of the catalog, unpacked
    safely, and DIR/SLUG appears when all is there. DIR/SLUG.download.json says what was fetched and when. Whoever
    downloads accepts the licence that is printed. Exit status 1 when the dataset is not there at the end.
    """
    try:
        entries = load_catalog(extra=extra)
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
    if slug not in entries:
        raise click.UsageError(no_dataset(slug, entries))
    entry = entries[slug]
    files = _choose(entry, chosen)
    why = obstacle(entry, files)
    if why:
        click.echo("\n".join(map(printable, by_hand(entry, files, raw, why))))
        sys.exit(1)
    licence = entry.licence
    click.echo(f"{slug}: licence {licence.name} [{licence.certainty}]; commercial use: {licence.commercial}")
    source = get_source(slug) if slug in slugs() else None
    try:
        facts = _with_progress(entry, files, raw, source.layouts if source is not None else ())
        if source is not None:
            tree = source.open(raw / slug)[0]
            click.echo(printable(f"{raw / slug}: {tree.layout.title}"))
    except Reject as reject:
        if source is not None and source.private_names and reject.file not in {a.file for a in files}:
            reject.file = renamed(load_key(), slug, reject.file)  # a member's name may tell of a patient
        raise click.ClickException(f"{slug}: {reject}") from reject
    except OSError as error:
        raise click.ClickException(f"{error.filename or raw}: {error.strerror or error}") from error
    size = sum(file["bytes"] for file in facts["files"])
    unchecked = [file["file"] for file in facts["files"] if not file["checked_against_catalog"]]
    click.echo(f"{len(facts['files'])} files, {size:,} bytes, unpacked into {raw / slug}")
    if unchecked:
        click.echo(f"no checksum is known of {', '.join(unchecked)}")


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

        return get(entry, files, raw, layouts, report)
