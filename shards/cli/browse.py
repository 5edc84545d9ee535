"""Commands `browse` and `site`; the command `medshards` looks them up here by name."""

from __future__ import annotations

import json
from pathlib import Path

import click

from medshards.common.commands import LocalPath, own_catalogs
from medshards.common.console import progress_bar
from medshards.curate.catalog.entry import CatalogError, load_catalog
from medshards.shards.browse.site import PACK, Site
from medshards.shards.read.corpus import BadSample, CorpusError

with_runs = click.option(
    "--run",
    "runs",
    type=LocalPath(file_okay=False),
    multiple=True,
    help="A run folder of `medshards train`, for a page of its curves; repeatable.",
)
with_audit = click.option(
    "--audit",
    type=LocalPath(dir_okay=False, exists=True),
    help="What `medshards audit OUT --json` printed, to show its findings.",
)
corpus = click.argument("out", type=LocalPath(file_okay=False))


@click.command()
@corpus
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; anything else is seen by others."
)
@with_runs
@with_audit
@own_catalogs
def browse(
    out: Path, port: int, host: str, runs: tuple[Path, ...], audit: Path | None, extra: tuple[Path, ...]
) -> None:
    """Show the catalog and the corpus OUT in a browser, until Ctrl-C.

    Nothing is copied: tables and shards are read where they lie. Only this machine can see it unless --host says
    otherwise; there is no password.

    \b
    medshards browse corpus --port 8000
    """
    from medshards.shards.browse.server import open_server

    site = _site(out, extra, runs, audit)
    try:
        server = open_server(site, host, port)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{host}:{port}: {error}; choose another --port or --host") from error
    site.prepare()
    click.echo(f"http://{host}:{server.server_address[1]}/ (Ctrl-C ends it)")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("")


@click.command()
@corpus
@click.option(
    "--out",
    "folder",
    type=LocalPath(file_okay=False),
    required=True,
    help="Folder of the site.",
)
@click.option(
    "--pictures",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Pictures of each dataset that are copied in full, evenly spread; of volumes the first slices. All samples "
    "are there with a small one.",
)
@with_runs
@with_audit
@own_catalogs
def site(
    out: Path,
    folder: Path,
    pictures: int,
    runs: tuple[Path, ...],
    audit: Path | None,
    extra: tuple[Path, ...],
) -> None:
    """Write the catalog and the corpus OUT as a static site: plain files, no network, no server needed.

    Open index.html from the disk, or copy the folder into a bucket. All samples are in it, a dozen to a file. Pictures
    are copied into it, small or in full: mind the licences before you publish it.

    \b
    medshards site corpus --out site
    """
    from medshards.shards.browse.static import write_site

    made = _site(out, extra, runs, audit, pack=PACK, full=pictures)
    try:
        with progress_bar("site") as progress:
            first = write_site(made, folder, progress)
    except (FileExistsError, BadSample, CorpusError) as error:
        raise click.ClickException(str(error)) from error
    full, samples = (sum(map(len, each.values())) for each in (made.full, made.shelves))
    if full < samples:
        click.echo(f"{full:,} of {samples:,} pictures are there in full, the others small (--pictures)")
    click.echo(f"{first}")


def _site(
    out: Path,
    extra: tuple[Path, ...],
    runs: tuple[Path, ...],
    audit: Path | None,
    pack: int = 1,
    full: int | None = None,
) -> Site:
    try:
        found = json.loads(audit.read_text(encoding="utf-8")) if audit else None
        if audit and not (isinstance(found, dict) and {"samples", "leaks", "nearest"} <= found.keys()):
            raise ValueError("it is not what `medshards audit --json` prints")
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{audit}: {error}", param_hint="--audit") from error
    try:
        return Site(out, load_catalog(extra=extra), pack, full, runs, found)
    except (CatalogError, FileNotFoundError, ValueError) as error:
        raise click.ClickException(str(error)) from error
