"""Commands `prompts build`, `verify` and `show`: sets of perturbed prompts are made, proven and shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from medshards.common.commands import LocalPath, json_option, workers_option
from medshards.common.console import progress_bar, say
from medshards.common.files import is_url
from medshards.common.text import comma_separated

SHOWN = 20  # faults printed

sets_option = click.option(
    "--sets",
    type=LocalPath(file_okay=False),
    help="Folder of the sets.  [default: CORPUS-prompts, beside the corpus]",
)


@click.command()
@click.argument("data", metavar="CORPUS")
@click.option("--set", "name", help="Name of the set: lower case, digits, hyphens.  [default: core, or full]")
@click.option("--full", is_flag=True, help="All families at five severities; else the core set at three.")
@click.option("--families", multiple=True, metavar="ID,…", help="Only these families; repeatable.")
@click.option("--datasets", multiple=True, metavar="SLUG,…", help="Only these datasets; repeatable.")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["train", "val", "test"]),
    help="Only these splits; repeatable.",
)
@click.option(
    "--replicates", type=click.IntRange(1), default=1, show_default=True, help="Draws of each random family."
)
@click.option(
    "--border",
    type=click.Choice(["foreground", "background"]),
    default="foreground",
    show_default=True,
    help="What lies beyond the image when a mask shrinks; foreground is the published study's rule.",
)
@workers_option("Processes.")
@sets_option
@json_option("the counts")
def build(
    data: str,
    name: str | None,
    full: bool,
    families: tuple[str, ...],
    datasets: tuple[str, ...],
    splits: tuple[str, ...],
    replicates: int,
    border: str,
    workers: int,
    sets: Path | None,
    as_json: bool,
) -> None:
    """Make the prompts of a set for every class of every picture or volume in CORPUS.

    Base shards stay as they are; each gets an overlay with the same keys. The same corpus and options give the same
    set, whatever the number of workers.
    """
    from medshards.evaluate.prompts.families.catalog import choose
    from medshards.evaluate.prompts.rows import summary
    from medshards.evaluate.prompts.sets.build import SPLITS, Recipe, WorkerDied, build_set
    from medshards.evaluate.prompts.sets.overlay import NAME
    from medshards.shards.read.corpus import BadSample, CorpusError

    part = "full" if full else "core"
    name = name or part
    if not NAME.fullmatch(name):
        raise click.BadParameter(
            f"{name!r}: lower-case letters, digits and hyphens, at most 31", param_hint="--set"
        )
    ids = tuple(comma_separated(families))
    try:
        choose(part, ids)
    except KeyError as error:
        raise click.BadParameter(
            f"no family {error}; `medshards prompts show --families` lists them", param_hint="--families"
        ) from error
    recipe = Recipe(name, part, ids, replicates, border == "foreground")
    try:
        with progress_bar("prompts") as report:
            made = build_set(
                data,
                recipe,
                sets or folder_of(data),
                comma_separated(datasets),
                splits or SPLITS,
                workers,
                report,
            )
    except (CorpusError, BadSample, WorkerDied) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or data}: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps({slug: summary(m) for slug, m in made.items()}, indent=1))
        return
    for slug, manifest in made.items():
        facts = summary(manifest)
        click.echo(
            f"{slug}: {facts['prompts']:,} prompts, {facts['empty']:,} empty, {facts['unreachable']:,} unreachable; "
            f"set {name}, digest {facts['digest'][:16]}"
        )


@click.command()
@click.argument("data", metavar="CORPUS")
@click.option("--set", "name", help="Only this set.  [default: all]")
@click.option("--datasets", multiple=True, metavar="SLUG,…", help="Only these datasets; repeatable.")
@sets_option
@click.option("--quick", is_flag=True, help="Check stored digests only; make nothing anew.")
@workers_option("Processes.")
def verify(
    data: str, name: str | None, datasets: tuple[str, ...], sets: Path | None, quick: bool, workers: int
) -> None:
    """Make every prompt anew from the base shards of CORPUS, compare, and name what differs."""
    from medshards.evaluate.prompts.sets.verify import read_manifest, verify_set
    from medshards.shards.read.corpus import BadSample, CorpusError

    folder = sets or folder_of(data)
    faults = []
    try:
        for slug, own in chosen(folder, name, datasets):
            with progress_bar(f"{slug} {own}") as report:
                found = verify_set(data, slug, own, folder, workers, not quick, report)
            faults += found
            if not found:
                manifest = read_manifest(folder, slug, own)
                click.echo(
                    f"clean: {slug}, set {own}: {manifest['prompts']:,} prompts, digest {manifest['digest'][:16]}"
                )
    except (CorpusError, BadSample) as error:
        raise click.ClickException(str(error)) from error
    for fault in faults[:SHOWN]:
        say(str(fault))
    if len(faults) > SHOWN:
        say(f"… and {len(faults) - SHOWN} more")
    if faults:
        sys.exit(1)


@click.command()
@click.argument("data", metavar="[CORPUS]", required=False)
@click.option("--set", "name", help="Only this set.  [default: all]")
@click.option("--datasets", multiple=True, metavar="SLUG,…", help="Only these datasets; repeatable.")
@sets_option
@click.option("--families", is_flag=True, help="List the families instead.")
@click.option("--texts", is_flag=True, help="List the text prompts of every concept instead, for review.")
@json_option("what is listed")
def show(
    data: str | None,
    name: str | None,
    datasets: tuple[str, ...],
    sets: Path | None,
    families: bool,
    texts: bool,
    as_json: bool,
) -> None:
    """Show what sets there are and what is in them: prompts by family and severity.

    \b
    medshards prompts show corpus --set core
    medshards prompts show --families
    """
    from medshards.evaluate.prompts.rows import by_family, family_rows, print_rows, summary, text_rows

    if families or texts:
        rows = family_rows() if families else text_rows()
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False)) if as_json else print_rows(rows)
        return
    if data is None:
        raise click.UsageError("give the CORPUS, or --families, or --texts")
    from medshards.evaluate.prompts.sets.verify import read_manifest

    folder = sets or folder_of(data)
    try:
        found = {
            (slug, own): read_manifest(folder, slug, own) for slug, own in chosen(folder, name, datasets)
        }
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([summary(m) | {"counts": m["counts"]} for m in found.values()], indent=1))
        return
    for (slug, own), manifest in found.items():
        click.echo(f"{slug}, set {own}: {manifest['prompts']:,} prompts, digest {manifest['digest'][:16]}")
        print_rows(by_family(manifest))


def chosen(folder: Path, name: str | None, datasets: Sequence[str]) -> list[tuple[str, str]]:
    """Dataset and name of the sets in a folder: all, those called `name`, of `datasets`. Raises ClickException."""
    from medshards.evaluate.prompts.sets.verify import sets_of

    there = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    slugs = comma_separated(datasets) or there
    found = [(slug, own) for slug in slugs for own in sets_of(folder, slug) if name in (None, own)]
    if not found:
        what = f"no set {name!r}" if name else "no prompt set"
        raise click.ClickException(f"{what} in {folder}; `medshards prompts build` makes one")
    return found


def folder_of(data: str) -> Path:
    """Where the sets of a corpus lie: beside it, so that nothing in it changes."""
    if is_url(data):
        raise click.UsageError("the corpus is in a bucket: give a local folder for its prompt sets (--sets)")
    corpus = Path(data).resolve()
    return corpus.with_name(f"{corpus.name}-prompts")
