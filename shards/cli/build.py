"""Command `build`."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from medshards.common.commands import LocalPath, json_option, workers_option
from medshards.common.console import progress_bar, say, tell
from medshards.common.machine import MachineError
from medshards.common.slurm import SlurmError
from medshards.curate.catalog.entry import Entry, no_dataset
from medshards.curate.catalog.terms import USES, Terms, Use
from medshards.curate.pseudonyms import key_file
from medshards.curate.sample import Reject
from medshards.curate.source import slugs
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import Result, build_dataset, require_profile
from medshards.shards.build.engine import run
from medshards.shards.build.licences import bound, objections
from medshards.shards.build.manifest import proven_corpus
from medshards.shards.build.place import recover_all, require_apart, require_own
from medshards.shards.cli import cluster, options
from medshards.shards.cli.outcome import facts, tell_result, tell_summary
from medshards.shards.cli.target import Target, target_options
from medshards.shards.encode.policy import Making
from medshards.shards.read.corpus import Corpus, CorpusError
from medshards.shards.read.storage import StoreError
from medshards.vocab.vocabulary import Vocabulary


@click.command()
@click.argument("slug", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="Build every dataset that lies in DIR; say which do not."
)
@click.option(
    "--raw",
    type=LocalPath(),
    help="DIR/SLUG is where a download lies; needed but for --status.",
)
@target_options
@options.making
@options.key_file
@workers_option("Processes that encode; with --engine slurm CPUs of each job.")
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
@click.option(
    "--licence",
    type=click.Choice(USES),
    help="Only datasets whose licence allows this, as the catalog reads it; binds the corpus from then on.",
)
@click.option(
    "--allow-unknown", is_flag=True, help="With --licence: also those of whose licence too little is known."
)
@json_option("the outcome")
@click.option("--status", is_flag=True, help="Say how far the builds into OUT are, here and on a cluster.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray", "slurm"]),
    default="local",
    show_default=True,
    help="Where cases are encoded; slurm submits jobs and returns. With ray and slurm:",
)
@cluster.cluster_options
def build(
    slug: tuple[str, ...],
    everything: bool,
    raw: Path | None,
    place: str,
    stage: Path | None,
    copy: str | None,
    making: Making,
    given: options.Given,
    workers: int,
    shard_size: int,
    allow_rejects: int,
    licence: Use | None,
    allow_unknown: bool,
    as_json: bool,
    status: bool,
    engine: str,
    **asked: Any,
) -> None:
    """Convert downloads into shards: OUT/<slug>/{train,val}/*.tar with index, annotations and manifest.

    The same inputs give the same bytes, whatever --workers is. Run it again after an interruption or a change:
    only what is new is encoded. Whatever is refused is named, listed in OUT/<slug>/rejects.jsonl, and makes the
    exit status 1 unless --allow-rejects covers it; so does a dataset without any sample.

    With --licence, datasets whose licence does not allow that use are left out by --all, and refused where they are
    named. Beside corpus.json lie a dataset card (README.md), ATTRIBUTION.md, citations.bib and croissant.json.

    A corpus at a URL gets the datasets that are built, and keeps its others: docs/build-on-a-cluster.md.

    \b
    medshards build busi kvasir_seg --raw ~/downloads --out corpus --workers 8
    medshards build --all --raw ~/downloads --out corpus --profile paper
    medshards build ravir --raw ~/downloads --out s3://bucket/corpus
    medshards build btcv --raw /shared/raw --out /shared/corpus --engine slurm --workers 4
    medshards build --status --out /shared/corpus
    """
    target = Target.of(place, stage, copy)
    out = target.out
    if status:
        if not out.is_dir():
            raise click.UsageError(f"--out {place}: no such folder{'' if target.copied else f' as {out}'}")
        cluster.tell_statuses(out, as_json)
        return
    if raw is None:
        raise click.UsageError("--raw DIR says where the downloads lie")
    cluster.require_used(engine, asked)
    if target.url and engine == "slurm":
        raise click.UsageError(
            "the jobs build later: submit with --out DIR; when they are done, `build … --out DIR --upload URL` "
            "without --engine slurm sends what they built"
        )
    if engine == "ray":
        raw, out = raw.resolve(), out.resolve()  # workers stand in other folders
    runs = cluster.ray_engine(asked) if engine == "ray" else run
    entries, own, catalogs = outside = options.datasets(slug, given)
    options.require_converters(outside)
    chosen, absent = _choose(slug, everything, raw, entries, [*slugs(), *own])
    if allow_unknown and licence is None:
        raise click.UsageError("--allow-unknown goes with --licence")
    making = replace(making, shard_bytes=shard_size << 20)
    results: list[Result] = []
    failed: list[str] = []

    def seal(folder: Path) -> None:
        require_profile(folder, making.profile, place)
        write_corpus(folder, making.profile, Vocabulary.load().digest, entries, terms)

    if key_file().resolve().is_relative_to(out.resolve()):
        raise click.UsageError(f"the key file {key_file()} lies in the corpus; it must not travel with it")
    try:
        known = target.known()
        terms = Terms(licence, allow_unknown) if licence else bound(proven_corpus(known))
        chosen, left_out = _permitted(chosen, everything, known, place, terms)
        require_apart(raw, out)
        for entry, root in chosen:
            require_apart(root, out)
            require_own(out, entry.slug)
        require_profile(out, making.profile)
        require_profile(known, making.profile, place)
        recover_all(out)
        words = ["--allow-rejects", str(allow_rejects), *(("--licence", terms.use) if terms else ())]
        words += ["--allow-unknown"] if terms and terms.allow_unknown else []
        with ExitStack() as claims:
            for entry, root in chosen:
                made = replace(making, own=own.get(entry.slug))
                try:
                    if engine == "slurm":
                        catalog = catalogs.get(entry.slug, given.catalog)
                        cluster.submit(entry, raw, root, out, made, catalog, workers, words, asked)
                        continue
                    claims.enter_context(target.claimed(entry.slug))
                    with progress_bar(entry.slug) as progress:
                        cluster.join_job(out, entry.slug)
                        result = build_dataset(entry, root, out, made, workers, progress, runs)
                except Reject as reject:
                    failed.append(entry.slug)
                    say(f"{entry.slug}: not built: {reject}")
                    continue
                results.append(result)
                tell_result(result)
                seal(out)
            if engine == "slurm":
                sys.exit(1 if failed else 0)
            if target.url and results:
                with progress_bar(target.url) as progress:
                    sent = target.bring([r.slug for r in results], seal, progress)
                say(
                    f"{target.url}: {sent.files} files sent, {sent.bytes / 2**20:.1f} MiB; {sent.removed} removed"
                )
    except Reject as reject:
        raise click.ClickException(str(reject)) from reject
    except (MachineError, SlurmError, StoreError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: {error.strerror or error}") from error
    refused = sum(len(r.rejects) for r in results)
    if as_json:
        tell(json.dumps(facts(results, failed, absent, left_out), indent=1))
    else:
        tell_summary(results, absent, left_out, place)
    unlike = _disagreement(place) if results else None
    if unlike:
        say(unlike)
    empty = [r.slug for r in results if not r.samples]
    for name in empty:
        say(f"{name}: the download gave no sample")
    if failed or empty or unlike or refused > allow_rejects or (not results and everything):
        sys.exit(1)


def _choose(
    wanted: tuple[str, ...], everything: bool, raw: Path, catalog: dict[str, Entry], known: list[str]
) -> tuple[list[tuple[Entry, Path]], list[str]]:
    """The datasets to build with their download, and (with --all) the slugs that are not there."""
    if bool(wanted) == everything:
        raise click.UsageError("name one or more SLUGs, or --all")
    if not raw.exists():
        raise click.UsageError(f"--raw {raw}: no such folder")
    names = [s for s in catalog if s in known] if everything else list(dict.fromkeys(wanted))
    for name in names:
        if name not in catalog:
            raise click.UsageError(no_dataset(name, catalog))
        if name not in known:
            raise click.UsageError(f"{name} is in the catalog and has no converter yet")
    chosen, absent = [], []
    for name in names:
        root = options.find_download(raw, name)
        if root is not None:
            chosen.append((catalog[name], root))
        elif everything:
            absent.append(name)
        elif len(names) == 1:
            chosen.append((catalog[name], raw))  # the user may have pointed at the download itself
        else:
            raise click.UsageError(f"{raw / name}: no such folder (nor {name}.zip or .tar)")
    return chosen, absent


def _permitted(
    chosen: list[tuple[Entry, Path]], everything: bool, known: Path, place: str, terms: Terms | None
) -> tuple[list[tuple[Entry, Path]], dict[str, str]]:
    """The datasets whose licence the terms accept, and (with --all) why the others are left out.

    known: folder with the corpus.json of the corpus at `place`.
    """
    if terms is None:
        return chosen, {}
    kept_out, held = objections(known, [entry for entry, _ in chosen], terms)
    for slug, why in held.items():
        say(f"{slug}, which is in {place}: {why}")
    for slug, why in kept_out.items():
        say(f"{slug}: {'left out' if everything else 'refused'}: {why}")
    if held or (kept_out and not everything):
        where = f"in {place}" if held else "named"
        raise click.ClickException(
            f"--licence {terms.use} does not go with datasets {where}; nothing was built"
        )
    return [(entry, root) for entry, root in chosen if entry.slug not in kept_out], kept_out


def _disagreement(place: str) -> str | None:
    """What is wrong where datasets of the corpus mean different concepts by one name."""
    corpus = Corpus.open(place, check_index=False)
    try:
        corpus.vocabulary  # noqa: B018 (raises)
    except CorpusError as error:
        return str(error)
    return None
