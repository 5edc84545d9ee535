"""Commands `push` and `pull`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import click

from medshards.common.commands import LocalPath, json_option, workers_option
from medshards.common.console import progress_bar, say
from medshards.common.text import counted
from medshards.curate.catalog.entry import CatalogError, load_catalog
from medshards.curate.catalog.terms import Terms
from medshards.curate.sample import Reject
from medshards.shards.build.licences import objections
from medshards.shards.build.manifest import CORPUS

Kind = Literal["dataset", "model"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@click.command()
@click.argument("what", type=LocalPath(exists=True, file_okay=False))
@click.argument("repo")
@click.option("--public", is_flag=True, help="Make the repository public, or push to one that is.")
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Also datasets of whose licence too little is known to pass them on.",
)
@click.option(
    "--catalog",
    type=LocalPath(exists=True, dir_okay=False),
    help="A catalog file of your own, with the licences of your datasets.",
)
@json_option("what was sent")
def push(
    what: Path, repo: str, public: bool, allow_unknown: bool, catalog: Path | None, as_json: bool
) -> None:
    """Bring WHAT to the Hugging Face Hub as REPO (owner/name): a corpus as a dataset; a checkpoint (of a run its best,
    else its newest) or a folder of `train --export` as a model.

    One commit makes all of it visible, or nothing; run it again after an interruption, and what was uploaded is not
    sent again. A repository that is made is private unless --public. A corpus is refused where the licence of a dataset
    in it does not allow passing it on, private or not; an export without its card is. Log in with `hf auth login`.

    \b
    medshards push corpus lab/polyps
    medshards push run/export/hf lab/sam3-polyps --public
    """
    is_corpus = (what / CORPUS).is_file()
    if is_corpus:
        _require_licences(what, catalog, allow_unknown)
    elif allow_unknown or catalog:
        raise click.UsageError("--allow-unknown and --catalog go with a corpus")
    from medshards.shards.share.hub import push_corpus
    from medshards.shards.share.repository import Repository

    with _refusing():
        repository = Repository(repo, "dataset" if is_corpus else "model")
        with progress_bar(repo) as progress:
            if is_corpus:
                sent = push_corpus(what, repository, public, progress)
            else:
                from medshards.train.share.models import push_model

                sent = push_model(what, repository, public, progress)
    facts = {"repo": repo, "type": repository.kind, **sent._asdict()}
    text = f"{repository}: {sent.files} files sent, {sent.bytes / 2**20:.1f} MiB; {sent.removed} removed"
    click.echo(json.dumps(facts, indent=1) if as_json else f"{text}; commit {sent.commit[:12]}")


@click.command()
@click.argument("repo")
@click.argument("out", type=LocalPath())
@click.option("--type", "kind", type=click.Choice(KINDS), help="Needed where REPO is both.")
@click.option("--revision", help="Branch, tag or commit.  [default: main]")
@workers_option("Processes that verify a corpus.")
@json_option("what was fetched")
def pull(repo: str, out: Path, kind: Kind | None, revision: str | None, workers: int, as_json: bool) -> None:
    """Fetch a corpus or model that `medshards push` brought to the Hugging Face Hub into the folder OUT.

    OUT appears when all is there and proven: a corpus as by `medshards verify`, a model by its digests. Run it again
    after an interruption; what was fetched is kept beside OUT meanwhile. Log in with `hf auth login` to read private
    repositories.

    \b
    medshards pull lab/polyps corpus --workers 4
    medshards pull lab/sam3-polyps model
    """
    from medshards.shards.share.hub import pull_corpus
    from medshards.shards.share.repository import LOGIN, Repository

    with _refusing():
        candidates = [Repository(repo, each) for each in ((kind,) if kind else KINDS)]
        found = [(each, head) for each in candidates if (head := each.head(revision)) is not None]
        if not found:
            raise click.ClickException(f"the Hub has no {kind or 'dataset or model'} {repo}; {LOGIN}")
        if len(found) > 1:
            raise click.UsageError(f"{repo} is a dataset and a model: say which with --type")
        ((repository, head),) = found
        facts: dict[str, Any] = {"repo": repo, "type": repository.kind, "commit": head.commit}
        with progress_bar(repo) as progress:
            if repository.kind == "dataset":
                corpus = pull_corpus(repository, head.commit, out, workers, progress)
                samples = sum(each["samples"] for each in corpus["datasets"].values())
                facts |= {"samples": samples, "datasets": len(corpus["datasets"]), "digest": corpus["digest"]}
            else:
                from medshards.train.share.models import pull_model

                pull_model(repository, head.commit, out, progress)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    elif repository.kind == "dataset":
        told = f"clean: {counted(facts['samples'], 'sample')} of {counted(facts['datasets'], 'dataset')} in {out}"
        click.echo(f"{told}, digest {facts['digest'][:16]}")
    else:
        click.echo(f"{repository} in {out}")


def _require_licences(out: Path, catalog: Path | None, allow_unknown: bool) -> None:
    """Name the datasets whose licence does not allow passing them on, and refuse."""
    try:
        entries = load_catalog(extra=[catalog] if catalog else [])
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
    _, held = objections(out, entries.values(), Terms("redistributable", allow_unknown))
    for slug, why in held.items():
        say(f"{slug}: refused: {why}")
    if held:
        todo = "build a corpus without them (`medshards build … --licence redistributable`)"
        raise click.ClickException(
            f"{counted(len(held), 'dataset')} may not be passed on; nothing was pushed: {todo}"
        )


@contextmanager
def _refusing() -> Iterator[None]:
    """What cannot be pushed or pulled ends the command in one line."""
    from medshards.shards.share.repository import HubError

    try:
        yield
    except (Reject, HubError, FileExistsError) as error:
        raise click.ClickException(str(error)) from error
