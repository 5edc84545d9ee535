"""Commands `inspect`, `verify` and `stats`."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import click

from medshards.common.commands import LocalPath, json_option, workers_option
from medshards.common.console import progress_bar, say, say_some
from medshards.common.machine import MachineError
from medshards.common.text import counted, printable
from medshards.curate.catalog.entry import load_catalog, no_dataset
from medshards.curate.identify import identify
from medshards.curate.listing import list_download
from medshards.curate.pseudonyms import passing_key, write_name_map
from medshards.curate.sample import Reject
from medshards.curate.source import get_source, slugs
from medshards.curate.tree import list_files, outline
from medshards.shards.build.manifest import read_corpus
from medshards.shards.cli import options
from medshards.shards.encode.policy import Making
from medshards.shards.prove.audit import nearest_pair, read_samples
from medshards.shards.prove.place import at_hand
from medshards.shards.prove.stats import corpus_stats
from medshards.shards.prove.table import print_plot, print_stats, print_table1
from medshards.shards.prove.table1 import compare
from medshards.shards.prove.table1 import markdown as as_markdown
from medshards.shards.prove.verify import verify_place
from medshards.shards.trial.dry_run import inspect_download


@click.command()
@click.argument("slug", required=False)
@click.option(
    "--raw",
    type=LocalPath(exists=True),
    help="Its download, or the folder with SLUG in it.",
)
@click.option(
    "--dicom",
    type=LocalPath(exists=True),
    help="Instead: list the DICOM series below this folder, with SUV and what would be used.",
)
@options.key_file
@options.making
@click.option(
    "--name-map",
    is_flag=True,
    help="Write SLUG.names.tsv beside the key file: which file each name that medshards gave stands for. Private.",
)
@workers_option("Processes that read.")
@json_option("the findings")
def inspect(
    slug: str | None,
    raw: Path | None,
    dicom: Path | None,
    making: Making,
    given: options.Given,
    name_map: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Say what a download is and what `build` would make of it: layout, cases, what is refused, size.

    Reads every file and, but for --name-map and the cache of unpacked archives, writes nothing. Exit status 1 when
    something would be refused, or no sample would be made. Without SLUG it only says, from names alone, which dataset
    the download looks like.

    \b
    medshards inspect busi --raw ~/downloads
    medshards inspect --raw ~/downloads/archive
    medshards inspect --dicom ~/studies
    """
    if name_map and slug is None:
        raise click.UsageError("--name-map goes with SLUG and --raw")
    if (raw is None) == (dicom is None) or (slug is not None and dicom is not None):
        raise click.UsageError("give --raw, with or without SLUG, or --dicom alone")
    if not name_map:
        click.get_current_context().with_resource(passing_key())
    if dicom is not None:
        _list_dicom(dicom, as_json)
        return
    assert raw is not None
    if slug is None:
        _name_dataset(raw, as_json)
        return
    outside = options.datasets([slug], given)
    options.require_converters(outside)
    if slug not in outside.entries or slug not in {*slugs(), *outside.own}:
        raise click.UsageError(no_dataset(slug, [*slugs(), *outside.own]))
    making = replace(making, own=outside.own.get(slug))
    root = options.find_download(raw, slug) or raw
    with progress_bar(slug) as progress:
        try:
            found = inspect_download(outside.entries[slug], root, making, workers, progress)
        except (Reject, MachineError) as error:
            raise click.ClickException(f"{slug}: {error}") from error
    if name_map:
        listing = list_download(get_source(slug, making.own), root)
        files = [*listing.trees[0].download.values()]
        files += [f for case in listing.cases for f in case.files.values()]
        say(f"names are told in {write_name_map(slug, files)}")
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for layout in found["layouts"]:
            click.echo(printable(f"{slug}: {layout['title']}, in {root / layout['base']}"))
        size = f"{found['bytes'] / 2**20:,.1f} MiB of shards"
        click.echo(
            f"{found['cases']} cases: {found['samples']} samples, {found['instances']} instances, {size}"
        )
        for reason, count in found["skipped"].items():
            click.echo(f"skipped {count}: {reason}")
        for reason, count in found["ignored"].items():
            click.echo(f"not read {count}: {reason}")
    told = [f"{row['file'] or row['case']}: {row['code']}: {row['message']}" for row in found["rejects"]]
    say_some([f"would be rejected: {line}" for line in told], "--json names all")
    if found["samples"] == 0:
        say(f"{slug}: the download gives no sample")
    if found["rejects"] or found["samples"] == 0:
        sys.exit(1)


def _list_dicom(folder: Path, as_json: bool) -> None:
    """Print a row for each series below a folder; exit status 1 when none can be measured, or a file is damaged."""
    from medshards.curate.paired.dicom_table import DAMAGE, describe, print_table

    try:
        rows = describe(folder)
    except Reject as reject:
        raise click.ClickException(str(reject)) from reject
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        print_table(rows)
    if all("unit" not in row for row in rows) or any(row.get("refused") in DAMAGE for row in rows):
        sys.exit(1)


def _name_dataset(raw: Path, as_json: bool) -> None:
    """Print which dataset the download looks like; exit status 1 when it looks like none."""
    try:
        found = identify(raw)
    except Reject as reject:
        raise click.ClickException(str(reject)) from reject
    places = [
        {"slug": slug, "layout": t.layout.title, "base": t.base}
        for slug, trees in found.items()
        for t in trees
    ]
    if as_json:
        click.echo(json.dumps(places, indent=1))
    for place in [] if as_json else places:
        click.echo(printable(f"{place['slug']}: {place['layout']}, in {raw / place['base']}"))
    if not places:
        from medshards.curate.paired.dicom_studies import is_dicom

        files = list_files(raw)
        if any(is_dicom(file) for file in files.values()):  # whose folders may be called after patients
            raise click.ClickException(
                f"{raw} holds DICOM files; `medshards inspect --dicom {raw}` lists them"
            )
        kinds = outline(files)
        say(f"{raw} looks like no dataset that has a converter ({len(slugs())} have one). Found: {kinds}")
        sys.exit(1)


@click.command()
@click.argument("out", metavar="OUT")
@workers_option("Processes that check shards.")
@click.option(
    "--expect", metavar="DIGEST", help="Digest of the corpus, or at least 16 digits, noted elsewhere."
)
@json_option("the problems")
def verify(out: str, workers: int, expect: str | None, as_json: bool) -> None:
    """Recompute every digest of the corpus OUT (a folder or URL), re-read every sample, check tables and splits.

    Names the file, and where it can be told the sample, of whatever is wrong; then the exit status is 1. A corpus
    proves itself; that it is the one you mean, --expect does.
    """
    if expect is not None and not re.fullmatch("[0-9a-f]{16,64}", expect):
        raise click.UsageError(
            "--expect takes 16 to 64 digits (0-9, a-f) of the digest that `verify` and corpus.json tell"
        )
    try:
        with at_hand(out) as place:
            with progress_bar("verify") as progress:
                problems = verify_place(place, workers, progress, expect)
            corpus = read_corpus(place.root)
            nearest = None if problems or as_json else nearest_pair(read_samples(place.root))
    except (OSError, MachineError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([asdict(p) for p in problems], indent=1))
    for problem in [] if as_json else problems:
        say(str(problem))
    if problems:
        say(counted(len(problems), "problem"))
        sys.exit(1)
    assert corpus is not None  # it is clean
    samples = sum(d["samples"] for d in corpus["datasets"].values())
    if not as_json:
        of = f"{counted(samples, 'sample')} of {counted(len(corpus['datasets']), 'dataset')}"
        click.echo(f"clean: {of}, digest {corpus['digest'][:16]}")
        if nearest:
            click.echo(f"nearest pair of two splits: {nearest}")


@click.command()
@click.argument("out", metavar="OUT")
@click.option("--paper", is_flag=True, help="Every row of Table 1, and why the figures differ where they do.")
@click.option("--markdown", is_flag=True, help="The same as Markdown.")
@click.option("--plot", is_flag=True, help="Images of each dataset and split as bars.")
@json_option("everything that is measured")
def stats(out: str, paper: bool, markdown: bool, plot: bool, as_json: bool) -> None:
    """Measure the corpus OUT (a folder or URL): images, annotations, median area, splits, concepts.

    Beside each dataset of the paper's Table 1 stands what the paper's rule measures on this corpus, with ✓ where
    it equals the printed figure.
    """
    if markdown and as_json:
        raise click.UsageError("--markdown and --json are two forms of one table; choose one")
    catalog = load_catalog()
    try:
        with at_hand(out) as place:
            measured = corpus_stats(place.root, catalog)
            nearest = None if paper or markdown or plot else nearest_pair(read_samples(place.root))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    rows = compare(measured, catalog)
    if as_json:
        facts = (
            {"table1": [asdict(row) | {"agreements": row.agreements} for row in rows]}
            if paper
            else {"datasets": measured, "nearest": nearest.facts if nearest else None}
        )
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    elif markdown:
        click.echo(as_markdown(rows))
    elif paper:
        print_table1(rows)
    elif plot:
        print_plot(measured)
    else:
        print_stats(measured, catalog)
        if nearest:
            click.echo(f"nearest pair of two splits: {nearest}")
