"""Command `train`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from medshards.common.commands import LocalPath, json_option
from medshards.common.console import page_console, tell

SLURM = (
    click.option("--submit", is_flag=True, help="Hand the script to sbatch."),
    click.option("--nodes", type=click.IntRange(1), help="Nodes.  [default: 1]"),
    click.option(
        "--gpus-per-node", type=click.IntRange(1), help="GPUs of each, a rank on each.  [default: 1]"
    ),
    click.option(
        "--cpus-per-node", type=click.IntRange(1), help="CPUs of each.  [default: one a rank and data worker]"
    ),
    click.option("--mem", help="Memory of each node, such as 200G.  [default: that of the cluster]"),
    click.option("--time", help="Time limit, such as 2-00:00:00.  [default: that of the cluster]"),
    click.option("--partition", help="Partition."),
    click.option("--account", help="Account."),
    click.option(
        "--sbatch", multiple=True, metavar="OPTION", help="Any other option, such as --qos=long; repeatable."
    ),
)


def slurm_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what to ask of Slurm."""
    for option in reversed(SLURM):
        command = option(command)
    return command


@click.command()
@click.option("--data", help="The corpus: a folder that `medshards build` wrote, or its URL.")
@click.option("--out", type=LocalPath(), help="Folder of the run.")
@click.option("--config", "source", help="A preset or a YAML file.  [default: paper]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a field; repeatable.")
@click.option("--steps", type=click.IntRange(1), help="Updates of the run; short for --set run.steps=N.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --out.")
@click.option(
    "--auto-resume",
    is_flag=True,
    help="--resume when --out holds a checkpoint, else begin: for jobs that a cluster starts again.",
)
@click.option(
    "--other-corpus", is_flag=True, help="Let --resume go on with another corpus than it began with."
)
@click.option(
    "--other-config",
    is_flag=True,
    help="Let --resume go on with another seed, batch, image size or choice of samples than it began with.",
)
@click.option(
    "--export",
    type=click.Choice(["hf", "official", "adapter"]),
    multiple=True,
    help="At the end, write the best checkpoint in this format to OUT/export, with its model card. adapter: of a run "
    "with model.lora, the adapters alone; the other formats then hold them merged into the weights.",
)
@click.option(
    "--plan",
    is_flag=True,
    help="Start nothing: say how much memory an update takes and how many images a pass fit the GPU; status 1 where "
    "nothing fits. With it:",
)
@click.option(
    "--card",
    type=click.FloatRange(0, 10_000, min_open=True),
    metavar="GB",
    help="Any GPU of 80, 48, 24, 16, 11 … GB.",
)
@click.option("--ranks", type=click.IntRange(1), help="Ranks, a GPU each.  [default: 1]")
@json_option("the plan")
@click.option("--slurm", is_flag=True, help="Train on a cluster: write a batch script to OUT/slurm. With it:")
@slurm_options
def train(
    data: str | None,
    out: Path | None,
    source: str | None,
    overrides: tuple[str, ...],
    steps: int | None,
    resume: bool,
    auto_resume: bool,
    other_corpus: bool,
    other_config: bool,
    export: tuple[str, ...],
    slurm: bool,
    plan: bool,
    card: float | None,
    ranks: int | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Fine-tune SAM3 on a corpus.

    Runs on one device as it is, and on many under torchrun. SIGTERM, SIGUSR1 and Ctrl-C end it after the
    current update with a checkpoint and exit status 0; --resume goes on exactly there, on any number of ranks.

    \b
    medshards train --data corpus --out run --config tiny --steps 30
    medshards train --data corpus --out run --config single-gpu --set model.weights=facebook/sam3
    medshards train --data corpus --out run --resume
    medshards train --config paper --plan --card 24
    medshards train --data corpus --out run --slurm --nodes 2 --gpus-per-node 8 --time 2-00:00:00 --submit
    """
    unused = [f"--{name.replace('_', '-')}" for name, value in asked.items() if value and not slurm]
    if unused:
        raise click.UsageError(f"{', '.join(unused)}: only with --slurm")
    given = {"--card": card, "--ranks": ranks, "--json": as_json}
    if unused := [name for name, value in given.items() if value and not plan]:
        raise click.UsageError(f"{', '.join(unused)}: only with --plan")
    if steps is not None:
        overrides = (*overrides, f"run.steps={steps}")
    if plan:
        sys.exit(_plan(source or "paper", overrides, card, ranks or 1, as_json))
    if data is None or out is None:
        raise click.UsageError(f"Missing option '{'--data' if data is None else '--out'}'.")
    from medshards.train.run.session import Failure, run_training

    try:
        if slurm:
            passed_on = [("--other-corpus", other_corpus), ("--other-config", other_config)]
            words = [word for word, given in passed_on if given]
            tell(_slurm(data, out, source, overrides, resume or auto_resume, words, export, asked))
            return
        message = run_training(
            data, out, source, overrides, resume, other_corpus, export, auto_resume, other_config
        )
    except Failure as error:
        tell(f"Error: {error}", err=True)
        sys.exit(1)
    if message:
        tell(message)


def _plan(source: str, overrides: tuple[str, ...], gb: float | None, ranks: int, as_json: bool) -> int:
    """Print a plan; returns the exit status."""
    from medshards.train.memory.cards import here, sold_with
    from medshards.train.memory.plan import plan, show
    from medshards.train.model.weights import WeightsError
    from medshards.train.run.config import ConfigError, load_config

    card = here() if gb is None else sold_with(gb)
    if card is None:
        raise click.UsageError("--plan: there is no GPU here; name one by its memory, such as --card 80")
    try:
        found = plan(load_config(source, overrides), card, ranks)
    except (ConfigError, WeightsError) as error:
        tell(f"Error: {error}", err=True)
        return 1
    if as_json:
        tell(json.dumps(found, indent=2))
    else:
        show(found, page_console(width=80))
    return 0 if found["taken"]["fits"] else 1


def _slurm(
    data: str,
    out: Path,
    source: str | None,
    overrides: tuple[str, ...],
    resume: bool,
    passed_on: list[str],
    export: tuple[str, ...],
    asked: dict[str, Any],
) -> str:
    """Write the batch script, submit it where asked; returns what to tell."""
    from medshards.train.run import slurm as launch

    submit, extra = asked.pop("submit"), asked.pop("sbatch")
    chosen = {name: value for name, value in asked.items() if value is not None}
    allocation = launch.Allocation(**chosen, extra=extra)
    script = launch.prepare(data, out, source, overrides, resume, passed_on, export, allocation)
    return launch.report(script, out, launch.submit(script) if submit else None)
