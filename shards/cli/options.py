"""Options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click

from medshards.common.commands import LocalPath
from medshards.curate.catalog.entry import CatalogError, Entry, load_catalog
from medshards.curate.pseudonyms import VARIABLE
from medshards.curate.slices import RULES, check_rule
from medshards.curate.source import Own, get_source, vocabulary_of
from medshards.curate.standard.importing import CONCEPTS, CONVERTER, ENTRY, LABELS
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
    type=LocalPath(dir_okay=False),
    callback=_key_file,
    expose_value=False,
    help=f"Key that patients are renamed with; made when absent.  [default: ${VARIABLE}, else in the user's "
    "configuration folder]",
)

FILE = LocalPath(exists=True, dir_okay=False)
_own_folder = click.option(
    "--own",
    "folders",
    metavar="DIR",
    type=LocalPath(exists=True, file_okay=False),
    multiple=True,
    help="Folder with a dataset of your own, as `medshards import` writes it: catalog.yaml, converter.py, labels.yaml, "
    "concepts.yaml where it needs new ones; repeatable. Or, for files that lie elsewhere:",
)
_catalog = click.option(
    "--catalog", type=FILE, help="A catalog file of your own, with the entry of a dataset."
)
_source = click.option("--source", type=FILE, help="Python file with the converter of that dataset.")
_labels = click.option("--labels", type=FILE, help="Label file of that dataset.")
_concepts = click.option(
    "--concepts",
    type=FILE,
    help="Concepts that the vocabulary lacks, in the form of vocab/concepts.yaml: for that dataset, and for each --own "
    "folder without a file of its own.",
)


@dataclass(frozen=True)
class Given:
    """What the options say of datasets outside the tree. own: of the one dataset that is named; None: it is inside."""

    folders: tuple[Path, ...]
    catalog: Path | None
    own: Own | None
    concepts: Path | None


class Datasets(NamedTuple):
    """All catalog entries; of the datasets outside the tree, by slug, how they are read and where the entry stands."""

    entries: dict[str, Entry]
    own: dict[str, Own]
    catalogs: dict[str, Path]


def own_dataset(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for datasets outside the tree; the command takes them as one `given`."""

    @_own_folder
    @_catalog
    @_source
    @_labels
    @_concepts
    @functools.wraps(command)
    def run(
        folders: tuple[Path, ...],
        catalog: Path | None,
        source: Path | None,
        labels: Path | None,
        concepts: Path | None,
        **others: Any,
    ) -> Any:
        if source is None and labels is not None:
            raise click.UsageError("--labels goes with --source")
        if source is None and not folders and concepts is not None:
            raise click.UsageError("--concepts goes with --own or --source")
        concepts = concepts and concepts.resolve()
        own = Own(source.resolve(), labels and labels.resolve(), concepts) if source else None
        return command(given=Given(folders, catalog, own, concepts), **others)

    return run


def making(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide what is made of a download; the command takes them as one `making`, and `given`."""

    @_profile
    @_slice_rule
    @_max_side
    @own_dataset
    @functools.wraps(command)
    def run(profile: Profile, slices: str | None, max_side: int | None, **others: Any) -> Any:
        return command(making=Making(profile, slices or SLICES, max_side), **others)

    return run


def datasets(wanted: Sequence[str], given: Given) -> Datasets:
    """All datasets, those outside the tree too. Raises click's exceptions where what is given cannot be used."""
    if given.own is not None and len(wanted) != 1:
        raise click.UsageError(
            "--source is the converter of one dataset: name its SLUG alone, or give several with --own"
        )
    try:
        own = {} if given.own is None else {wanted[0]: given.own}
        catalogs = {}
        for folder in given.folders:
            slug = _slug_of(folder)
            if slug in own:
                raise click.UsageError(f"--own {folder}: {slug} is given twice")
            catalogs[slug] = (folder / ENTRY).resolve()
            own[slug] = _in_folder(folder.resolve(), given.concepts)
        extra = [given.catalog] if given.catalog else []
        return Datasets(load_catalog(extra=[*extra, *catalogs.values()]), own, catalogs)
    except (CatalogError, VocabularyError) as error:
        raise click.ClickException(str(error)) from error


def find_download(raw: Path, slug: str) -> Path | None:
    """DIR/SLUG, or an archive of that name."""
    return next((p for s in ("", *SUFFIXES) if (p := raw / f"{slug}{s}").exists()), None)


def require_converters(found: Datasets) -> None:
    """Raises ClickException where a dataset outside the tree has no converter that can be used."""
    for slug, own in found.own.items():
        try:
            vocabulary_of(own)
            get_source(slug, own)
        except (VocabularyError, LookupError) as error:
            raise click.ClickException(str(error)) from error


def _slug_of(folder: Path) -> str:
    for name in (ENTRY, CONVERTER):
        if not (folder / name).is_file():
            raise click.UsageError(f"--own {folder}: no {name}; `medshards import` writes such a folder")
    slugs = list(load_catalog(folder / ENTRY))
    if len(slugs) != 1:
        raise click.UsageError(
            f"--own {folder}: {ENTRY} has {len(slugs)} entries, expected that of one dataset"
        )
    return slugs[0]


def _in_folder(folder: Path, concepts: Path | None) -> Own:
    labels, own = folder / LABELS, folder / CONCEPTS
    return Own(folder / CONVERTER, labels if labels.is_file() else None, own if own.is_file() else concepts)
