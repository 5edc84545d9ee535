"""Command `prompts score`: a model is asked every prompt of a set."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from medshards.common.commands import LocalPath, json_option
from medshards.common.console import progress_bar, say
from medshards.evaluate.cli import options
from medshards.evaluate.prompts.answers.open import HELP
from medshards.evaluate.prompts.cli.sets import SHOWN, chosen, folder_of, sets_option


@click.command()
@click.argument("data", metavar="CORPUS")
@click.option("--model", required=True, metavar="WHAT", help=HELP)
@click.option("--out", required=True, type=LocalPath(file_okay=False), help="Folder of the results.")
@click.option("--set", "name", default="core", show_default=True, help="The set to ask.")
@click.option("--datasets", multiple=True, metavar="SLUG,…", help="Only these datasets; repeatable.")
@sets_option
@click.option(
    "--tolerance", type=click.FloatRange(0), default=2.0, show_default=True, help="Of NSD, in mm or px."
)
@click.option(
    "--reference",
    type=LocalPath(exists=True, file_okay=False),
    help="Results of the model that the corruption error is relative to.",
)
@options.device
@json_option("the figures")
def score(
    data: str,
    model: str,
    out: Path,
    name: str,
    datasets: tuple[str, ...],
    sets: Path | None,
    tolerance: float,
    reference: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Ask a model every prompt of a set; curves, summaries and a page that opens offline.

    \b
    medshards prompts score corpus --model copy --out results/copy
    medshards prompts score corpus --model tracker:facebook/sam3 --out results/sam3
    """
    from medshards.evaluate.prompts.answers.open import open_answerer
    from medshards.evaluate.prompts.results.report import ROWS, Results, read_rows
    from medshards.evaluate.prompts.results.score import score_set
    from medshards.evaluate.prompts.rows import print_rows
    from medshards.evaluate.prompts.sets.verify import read_manifest
    from medshards.shards.read.corpus import BadSample, CorpusError
    from medshards.train.model.weights import WeightsError
    from medshards.train.run.checkpoint import CheckpointError

    folder = sets or folder_of(data)
    try:
        answerer = open_answerer(model, device)
        manifests = [read_manifest(folder, slug, own) for slug, own in chosen(folder, name, datasets)]
        with progress_bar("score") as report:
            rows = [row for m in manifests for row in score_set(data, folder, m, answerer, tolerance, report)]
        if not rows:
            raise click.ClickException(f"set {name} has no prompts that {answerer.name} takes")
        made = {
            "model": answerer.name,
            "prompts": ", ".join(answerer.kinds),
            "sets": "; ".join(f"{m['dataset']} {m['set']}, digest {m['digest'][:16]}" for m in manifests),
            "border rule": "; ".join(sorted({m["border"] for m in manifests})),
            "scores": f"Dice; NSD at {tolerance:g} mm (px), HD95: border voxels",
            "averages": "patient, then class, then macro; intervals: 1,000 bootstrap draws of patients",
        }
        results = Results.of(rows, made)
        beside = Results.of(read_rows(reference / ROWS), {}, 0) if reference else None
        results.write(out, beside)
    except (CorpusError, BadSample, CheckpointError, WeightsError, ImportError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or model}: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps(results.facts(beside), indent=1))
    else:
        print_rows(results.table())
        click.echo(f"{out / 'report.html'}")
    failed = [row for row in rows if row.state == "failed"]
    for row in failed[:SHOWN]:
        say(f"failed: {row.dataset}/{row.key} {row.concept}/{row.family}/{row.severity}: {row.reason}")
    if failed:
        say(f"{len(failed)} of {len(rows)} prompts failed and are in no Dice")
        sys.exit(1)
