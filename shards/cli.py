"""Commands `build`, `verify` and `stats`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from curate.catalog import Entry, load_catalog
from curate.sample import Reject, printable
from curate.source import slugs
from curate.unpack import SUFFIXES
from shards.build import Result, build_dataset, locked
from shards.engine import WorkerDied
from shards.manifest import read_corpus, write_corpus
from shards.policy import Profile
from shards.stats import corpus_stats
from shards.table import print_stats
from shards.verify import verify as prove
from vocab.vocabulary import Vocabulary

SHOWN = 50  # rejects printed for a dataset; all are in rejects.jsonl


@click.command()
@click.argument("slug", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="Build every dataset that lies in DIR; say which do not."
)
@click.option(
    "--raw", type=click.Path(path_type=Path), required=True, help="DIR/SLUG is where a download lies."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the corpus.")
@click.option(
    "--profile",
    type=click.Choice(["default", "paper"]),
    default="default",
    show_default=True,
    help="default: split by patient or other group, all images kept. paper: Table 1 reproduced.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that encode."
)
@click.option(
    "--shard-size", type=click.IntRange(1), default=256, show_default=True, help="Largest shard, in MiB."
)
@click.option(
    "--allow-rejects",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Exit with 0 when no more than this many samples were refused.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def build(
    slug: tuple[str, ...],
    everything: bool,
    raw: Path,
    out: Path,
    profile: Profile,
    workers: int,
    shard_size: int,
    allow_rejects: int,
    as_json: bool,
) -> None:
    """Convert downloads into shards: OUT/<slug>/{train,val}/*.tar with index, annotations and manifest.

    The same inputs give the same bytes, whatever --workers is. Run it again after an interruption or a change:
    only what is new is encoded. Whatever is refused is named, listed in OUT/<slug>/rejects.jsonl, and makes the
    exit status 1 unless --allow-rejects covers it.

    \b
    medshards build busi kvasir_seg --raw ~/downloads --out corpus --workers 8
    medshards build --all --raw ~/downloads --out corpus --profile paper
    """
    catalog = load_catalog()
    chosen, absent = _choose(slug, everything, raw, catalog)
    console = Console(stderr=True)
    results: list[Result] = []
    failed: list[str] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        existing = read_corpus(out)
        if existing is not None and existing["profile"] != profile:
            raise Reject(
                "profile", f"{out} was built with --profile {existing['profile']}; choose another folder"
            )
        with locked(out):
            for entry, root in chosen:
                with _bar(entry.slug, console) as progress:
                    try:
                        result = build_dataset(
                            entry,
                            root,
                            out,
                            profile,
                            workers,
                            shard_size << 20,
                            progress,
                        )
                    except Reject as reject:
                        failed.append(entry.slug)
                        _say(f"{entry.slug}: not built: {reject}")
                        continue
                results.append(result)
                _report(result)
                write_corpus(out, profile, Vocabulary.load().digest)
            if results:
                write_corpus(out, profile, Vocabulary.load().digest)
    except Reject as reject:
        raise click.ClickException(str(reject)) from reject
    except WorkerDied as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: {error.strerror}") from error
    refused = sum(len(r.rejects) for r in results)
    if as_json:
        click.echo(json.dumps(_outcome(results, failed, absent), indent=1))
    else:
        _summary(results, absent, out)
    if failed or refused > allow_rejects or (not results and everything):
        sys.exit(1)


def _choose(
    wanted: tuple[str, ...], everything: bool, raw: Path, catalog: dict[str, Entry]
) -> tuple[list[tuple[Entry, Path]], list[str]]:
    """The datasets to build with their download, and (with --all) the slugs that are not there."""
    if bool(wanted) == everything:
        raise click.UsageError("name one or more SLUGs, or --all")
    if not raw.exists():
        raise click.UsageError(f"--raw {raw}: no such folder")
    known = slugs()
    names = [s for s in catalog if s in known] if everything else list(dict.fromkeys(wanted))
    for name in names:
        if name not in catalog:
            raise click.UsageError(f"no dataset {name!r}; `medshards catalog` lists them")
        if name not in known:
            raise click.UsageError(f"{name} is in the catalog and has no converter yet")
    chosen, absent = [], []
    for name in names:
        root = find_download(raw, name)
        if root is not None:
            chosen.append((catalog[name], root))
        elif everything:
            absent.append(name)
        elif len(names) == 1:
            chosen.append((catalog[name], raw))  # the user may have pointed at the download itself
        else:
            raise click.UsageError(f"{raw / name}: no such folder (nor {name}.zip or .tar)")
    return chosen, absent


def find_download(raw: Path, slug: str) -> Path | None:
    """DIR/SLUG, or an archive of that name."""
    return next((p for s in ("", *SUFFIXES) if (p := raw / f"{slug}{s}").exists()), None)


@contextmanager
def _bar(title: str, console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each stage that reports itself; nothing when the output is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}: {stage}")
            bars.update(tasks[stage], completed=done, total=total)

        yield update


def _report(result: Result) -> None:
    for row in result.rejects[:SHOWN]:
        _say(f"{result.slug}: rejected {row['file'] or row['case']}: {row['code']}: {row['message']}")
    if len(result.rejects) > SHOWN:
        _say(f"{result.slug}: {len(result.rejects) - SHOWN} more are listed in {result.slug}/rejects.jsonl")


def _say(line: str) -> None:
    click.echo(printable(line), err=True)


def _outcome(results: list[Result], failed: list[str], absent: list[str]) -> dict[str, object]:
    return {
        "datasets": [
            {
                "slug": r.slug,
                "samples": r.samples,
                "encoded": r.encoded,
                "reused": r.reused,
                "changed": r.changed,
                "rejects": r.rejects,
                "counts": r.manifest["counts"],
            }
            for r in results
        ],
        "failed": failed,
        "not_there": absent,
    }


def _summary(results: list[Result], absent: list[str], out: Path) -> None:
    for r in results:
        counts = r.manifest["counts"]
        splits = ", ".join(f"{counts[s]} {s}" for s in ("train", "val", "test") if counts[s])
        parts = [
            f"{r.samples} samples ({splits})" if splits else "0 samples",
            f"{counts['instances']} instances",
        ]
        if r.rejects:
            parts.append(f"{len(r.rejects)} rejected")
        parts += [f"{n} skipped ({reason})" for reason, n in sorted(counts["skipped"].items())]
        parts += [f"{n} lost ({what})" for what, n in sorted(counts["lost"].items())]
        if not r.changed:
            parts.append("up to date")
        click.echo(f"{r.slug}: {', '.join(parts)}")
    if absent:
        click.echo(f"not there ({len(absent)}): {', '.join(absent)}")
    total = sum(r.samples for r in results)
    click.echo(f"{total} samples of {len(results)} datasets in {out}")


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that check shards."
)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def verify(out: Path, workers: int, as_json: bool) -> None:
    """Recompute every digest of the corpus OUT, re-read every sample, check tables and splits.

    Names the file, and where it can be told the sample, of whatever is wrong; then the exit status is 1.
    """
    with _bar("verify", Console(stderr=True)) as progress:
        try:
            problems = prove(out, workers, progress)
        except FileNotFoundError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([asdict(p) for p in problems], indent=1))
    for problem in [] if as_json else problems:
        _say(str(problem))
    if problems:
        _say(f"{len(problems)} problems")
        sys.exit(1)
    corpus = read_corpus(out) or {}
    samples = sum(d["samples"] for d in corpus["datasets"].values())
    if not as_json:
        click.echo(
            f"clean: {samples} samples of {len(corpus['datasets'])} datasets, digest {corpus['digest'][:16]}"
        )


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print everything that is measured as JSON.")
def stats(out: Path, as_json: bool) -> None:
    """Measure the corpus OUT: images, annotations, median area, splits, concepts.

    Beside each dataset of the paper's Table 1 stands what the paper's rule measures on this corpus, with ✓ where
    it equals the printed figure.
    """
    catalog = load_catalog()
    try:
        measured = corpus_stats(out, catalog)
    except (FileNotFoundError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"datasets": measured}, indent=1))
        return
    print_stats(measured, catalog)
