"""Command `check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from medshards.common.commands import LocalPath
from medshards.common.machine import MachineError
from medshards.common.text import printable
from medshards.curate.catalog.entry import is_slug
from medshards.shards.cli import options
from medshards.shards.trial.check import check as findings


@click.command()
@click.argument("slug")
@click.option(
    "--raw",
    type=LocalPath(exists=True),
    help="Its download, or the folder with SLUG in it. Without it the phantom is drawn.",
)
@click.option(
    "--picture",
    type=LocalPath(dir_okay=False),
    help="Where to draw the first samples. Default: check-SLUG.png.",
)
@options.own_dataset
def check(
    slug: str,
    raw: Path | None,
    picture: Path | None,
    given: options.Given,
) -> None:
    """Check a dataset that is being added, and draw its first samples; each line says what is there or what to do.

    Looks at the catalog entry, the labels, the converter, the phantom, the tests and the download. Exit status 1
    when something is left to do. See docs/add-a-dataset.md.
    """
    if not is_slug(slug):
        raise click.BadParameter(f"bad slug {slug!r}; a slug is lower-case letters, digits and underscores")
    found = options.datasets([slug], given)
    root = raw and (options.find_download(raw, slug) or raw)
    picture = picture or Path(f"check-{slug}.png")
    left = 0
    try:
        for finding in findings(slug, found.entries, found.own.get(slug), root, picture):
            click.echo(printable(str(finding)))
            left += not finding.done
    except MachineError as error:
        raise click.ClickException(str(error)) from error
    if left:
        click.echo(f"{left} to do")
        sys.exit(1)
