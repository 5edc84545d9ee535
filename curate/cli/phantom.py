"""Command `phantom`."""

from __future__ import annotations

from pathlib import Path

import click

from medshards.common.commands import LocalPath
from medshards.curate import phantoms


@click.command()
@click.argument("slug", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Write the phantom of every dataset that has one.")
@click.option(
    "--out",
    type=LocalPath(file_okay=False),
    required=True,
    help="DIR/SLUG takes the files, ready for `build --raw DIR`.",
)
@click.option("--seed", type=int, default=0, show_default=True)
def phantom(slug: tuple[str, ...], everything: bool, out: Path, seed: int) -> None:
    """Write a tiny fake download of a dataset, in its native layout and with its pitfalls."""
    if bool(slug) == everything:
        raise click.UsageError("name one or more SLUGs, or --all")
    for name in phantoms.slugs() if everything else slug:
        if (out / name).exists() and any((out / name).iterdir()):
            raise click.UsageError(f"{out / name} is not empty; choose another --out")
        try:
            expected = phantoms.write_phantom(name, out / name, seed)
        except LookupError as error:
            raise click.UsageError(str(error)) from error
        click.echo(f"{out / name}: {expected.samples} samples, {expected.instances} instances to be found")
