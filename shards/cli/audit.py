"""Command `audit`; the command `medshards` looks it up here by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from medshards.common.commands import LocalPath, json_option
from medshards.common.console import say_some
from medshards.common.files import is_url
from medshards.common.text import counted
from medshards.curate.sample import Reject
from medshards.shards.prove.audit import Leak, leaks, listed, nearest_pair, read_samples
from medshards.shards.prove.fix import move, moves
from medshards.shards.prove.place import at_hand

SHOWN = 20


@click.command()
@click.argument("out")
@click.option(
    "--against",
    type=LocalPath(exists=True, dir_okay=False),
    help="Also name the samples that this list holds: a SHA-256 or a file name a line.",
)
@click.option("--fix", is_flag=True, help="Move whole groups so that no leak is left, and say which.")
@json_option("everything that is found")
def audit(out: str, against: Path | None, fix: bool, as_json: bool) -> None:
    """Look for leaks in the corpus OUT, a folder or URL.

    A leak is what stands in more than one split, over all datasets together. Groups, patients, equal images and
    pictures of the same view (resized, re-encoded, slightly cropped) are compared within and between datasets,
    external sets included. What counts as the same view, and how well that was measured: docs/splits.md. Exit
    status 1 when something is found and, with --fix, is left.

    --fix moves whole groups to the most held out split that a sample tied to them stands in, dataset by dataset; later
    builds leave them there.

    \b
    medshards audit corpus
    medshards audit corpus --against test-set-sha256.txt
    """
    if fix and is_url(out):
        raise click.UsageError(
            f"--fix moves groups of a folder of this machine; mend that and upload it to {out}"
        )
    try:
        with at_hand(out) as place:
            samples = read_samples(place.root)
            found = leaks(samples)
            nearest = None if found else nearest_pair(samples)
            named = listed(place, samples, against) if against else []
            wanted = moves(found) if fix else {}
            if wanted:
                move(place.root, wanted)
                left = leaks(read_samples(place.root))
    except (OSError, ValueError, Reject) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        facts = {
            "samples": len(samples),
            "leaks": [_leak(leak) for leak in found],
            "nearest": nearest.facts if nearest else None,
            "moved": [
                {"dataset": dataset, "group": group, "to": split}
                for dataset, groups in wanted.items()
                for group, split in groups.items()
            ],
            "listed": [sample.facts | {"entry": entry} for sample, entry in named],
        }
        click.echo(json.dumps(facts, indent=1))
    else:
        lines = [f"leak: {leak}" for leak in found], [f"listed: {s}: {entry}" for s, entry in named]
        for part in lines:
            say_some(part, "--json names all", SHOWN)
        datasets = len({sample.dataset for sample in samples})
        of = f"{counted(len(samples), 'sample')} of {counted(datasets, 'dataset')}"
        told = f"{of}: {counted(len(found), 'leak')} between splits"
        click.echo(told + (f", {len(named)} samples listed in {against}" if against else ""))
        for dataset, groups in wanted.items():
            for group, split in groups.items():
                click.echo(f"moved: group {group} of {dataset} to {split}")
        if nearest:
            click.echo(f"nearest pair of two splits: {nearest}")
    if (left if wanted else found) or named:
        sys.exit(1)


def _leak(leak: Leak) -> dict[str, Any]:
    counts = [{"dataset": d, "split": s, "samples": n} for (d, s), n in leak.samples.items()]
    return {"ties": [tie.facts for tie in leak.ties], "samples": counts}
