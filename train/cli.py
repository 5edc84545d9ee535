"""Command `train`."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option("--data", required=True, help="The corpus: a folder that `medshards build` wrote, or its URL.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--config", "source", help="A preset or a YAML file.  [default: paper]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a field; repeatable.")
@click.option("--steps", type=click.IntRange(1), help="Updates of the run; short for --set run.steps=N.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --out.")
@click.option(
    "--other-corpus", is_flag=True, help="Let --resume go on with another corpus than it began with."
)
@click.option(
    "--export",
    type=click.Choice(["hf", "official"]),
    multiple=True,
    help="At the end, write the best checkpoint in this format to OUT/export.",
)
def train(
    data: str,
    out: Path,
    source: str | None,
    overrides: tuple[str, ...],
    steps: int | None,
    resume: bool,
    other_corpus: bool,
    export: tuple[str, ...],
) -> None:
    """Fine-tune SAM3 on a corpus.

    Runs on one device as it is, and on many under torchrun. SIGTERM, SIGUSR1 and Ctrl-C end it after the
    current update with a checkpoint and exit status 0; --resume goes on exactly there, on any number of ranks.

    \b
    medshards train --data corpus --out run --config tiny --steps 30
    medshards train --data corpus --out run --config single-gpu --set model.weights=facebook/sam3
    medshards train --data corpus --out run --resume
    """
    from train.session import Failure, run_training

    if steps is not None:
        overrides = (*overrides, f"run.steps={steps}")
    try:
        message = run_training(data, out, source, overrides, resume, other_corpus, export)
    except Failure as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    if message:
        click.echo(message)
