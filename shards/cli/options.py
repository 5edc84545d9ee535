"""Options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from medshards.curate.catalog.entry import CatalogError, Entry, load_catalog
from medshards.curate.identity import VARIABLE
from medshards.curate.slices import RULES, check_rule
from medshards.curate.source import Own, get_source
from medshards.curate.unpack import SUFFIXES
from medshards.shards.encode.policy import SLICES, Making, Profile
from medshards.vocab.vocabulary import VocabularyError


def _slices(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if ctx.params.get("profile") == "paper":
        raise click.UsageError("--slices does not go with --profile paper: there the paper's rule decides")
    try:
        return check_rule(value.replace(":", " "))
    except ValueError as error:
        expected = RULES.replace("every K", "every:K")
        raise click.BadParameter(f"no such rule for slices: {value!r}; expected {expected}") from error


_profile = click.option(
    "--profile",
    type=click.Choice(["default", "paper"]),
    default="default",
    show_default=True,
    is_eager=True,  # --slices depends on it
    help="default: split by patient or other group, all images kept. paper: Table 1 reproduced.",
)
_slice_rule = click.option(
    "--slices",
    metavar="RULE",
    callback=_slices,
    help="Which slices of a volume: all, annotated (default), largest, middle or every:K.",
)
_max_side = click.option(
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
_source = click.option("--source", type=FILE, help="Python file with the converter of a dataset of your own.")
_catalog = click.option(
    "--catalog", type=FILE, help="A catalog file of your own, with the entry of that dataset."
)
_labels = click.option("--labels", type=FILE, help="Label file of that dataset.")


def own_dataset(command: Callable[..., Any]) -> Callable[..., Any]:
    """The three options for a dataset outside the tree; the command takes `catalog` and `own` (None: it is inside)."""

    @_source
    @_catalog
    @_labels
    @functools.wraps(command)
    def run(source: Path | None, labels: Path | None, **others: Any) -> Any:
        if source is None and labels is not None:
            raise click.UsageError("--labels goes with --source")
        own = Own(source.resolve(), labels and labels.resolve()) if source else None
        return command(own=own, **others)

    return run


def making(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide what is made of a download; the command takes them as one `making`, and `catalog`."""

    @_profile
    @_slice_rule
    @_max_side
    @own_dataset
    @functools.wraps(command)
    def run(
        profile: Profile, slices: str | None, max_side: int | None, own: Own | None, **others: Any
    ) -> Any:
        return command(making=Making(profile, slices or SLICES, max_side, own=own), **others)

    return run


def datasets(wanted: Sequence[str], catalog: Path | None, own: Own | None) -> dict[str, Entry]:
    """All catalog entries; a dataset outside the tree must be the only one wanted, and have a converter."""
    try:
        entries = load_catalog(extra=[catalog] if catalog else [])
        if own is not None:
            if len(wanted) != 1:
                raise click.UsageError("--source is the converter of one dataset: name its SLUG alone")
            get_source(wanted[0], own)
        return entries
    except (CatalogError, VocabularyError, LookupError) as error:
        raise click.ClickException(str(error)) from error


def find_download(raw: Path, slug: str) -> Path | None:
    """DIR/SLUG, or an archive of that name."""
    return next((p for s in ("", *SUFFIXES) if (p := raw / f"{slug}{s}").exists()), None)
