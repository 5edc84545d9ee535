"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from medshards.curate.catalog.entry import CatalogError, Entry, load_catalog
from medshards.curate.identity import VARIABLE
from medshards.curate.slices import check_rule
from medshards.curate.source import Own, get_source
from medshards.vocab.vocabulary import VocabularyError


def _slices(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if ctx.params.get("profile") == "paper":
        raise click.UsageError("--slices does not go with --profile paper: there the paper's rule decides")
    try:
        return check_rule(value.replace(":", " "))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


profile = click.option(
    "--profile",
    type=click.Choice(["default", "paper"]),
    default="default",
    show_default=True,
    is_eager=True,  # --slices depends on it
    help="default: split by patient or other group, all images kept. paper: Table 1 reproduced.",
)
slices = click.option(
    "--slices",
    metavar="RULE",
    callback=_slices,
    help="Which slices of a volume: all, annotated (default), largest, middle or every:K.",
)
max_side = click.option(
    "--max-side",
    metavar="PX",
    type=click.IntRange(16),
    help="Make larger images smaller: averaged by area, masks by nearest pixel. Default: native.",
)


def _key_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        os.environ[VARIABLE] = str(value.resolve())


key_file = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_key_file,
    expose_value=False,
    help=f"Key that patients are renamed with; made when absent.  [default: ${VARIABLE}, else in the user's "
    "configuration folder]",
)

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def own_dataset(command: Any) -> Any:
    """The three options for a dataset outside the tree; `datasets` takes what they hold."""
    for option in (
        click.option("--labels", type=FILE, help="Label file of that dataset."),
        click.option(
            "--catalog", type=FILE, help="A catalog file of your own, with the entry of that dataset."
        ),
        click.option("--source", type=FILE, help="Python file with the converter of a dataset of your own."),
    ):
        command = option(command)
    return command


def datasets(
    wanted: Sequence[str], source: Path | None, catalog: Path | None, labels: Path | None
) -> tuple[dict[str, Entry], Own | None]:
    """All catalog entries, and the dataset outside the tree that the options name."""
    try:
        entries = load_catalog(extra=[catalog] if catalog else [])
        if source is None:
            if labels is not None:
                raise click.UsageError("--labels goes with --source")
            return entries, None
        if len(wanted) != 1:
            raise click.UsageError("--source is the converter of one dataset: name its SLUG alone")
        own = Own(source.resolve(), labels and labels.resolve())
        get_source(wanted[0], own)
        return entries, own
    except (CatalogError, VocabularyError, LookupError) as error:
        raise click.ClickException(str(error)) from error
