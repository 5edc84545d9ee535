"""Command `stream`."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click
from rich.table import Table

from medshards.common.commands import MOST_WORKERS, json_option
from medshards.common.console import page_console, progress_bar, tell
from medshards.common.text import counted

if TYPE_CHECKING:
    from medshards.train.data.bench import Timing
    from medshards.train.data.simulate import Simulation


@click.command()
@click.argument("out")
@click.option("--bench", "benched", is_flag=True, help="Time how fast it becomes batches on this machine.")
@click.option(
    "--simulate", "simulated", is_flag=True, help="Take an epoch by so many ranks, and look at its order."
)
@click.option("--config", "source", help="A preset or a YAML file.  [default: paper]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a field; repeatable.")
@click.option(
    "--side", type=click.IntRange(8), default=1008, show_default=True, help="Of the network input, px."
)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Images of a batch.")
@click.option(
    "--workers", type=click.IntRange(0, MOST_WORKERS), help="Processes that decode.  [default: data.workers]"
)
@click.option("--images", type=click.IntRange(1), default=200, show_default=True, help="--bench: so many.")
@click.option(
    "--gpu", type=click.FloatRange(0.01), default=16.0, show_default=True, help="--bench: images/s of a GPU."
)
@click.option(
    "--ranks", type=click.IntRange(1), default=1, show_default=True, help="--simulate: to begin with."
)
@click.option(
    "--resume", type=click.IntRange(1), help="--simulate: stop after so many steps, go on with --then."
)
@click.option(
    "--then", type=click.IntRange(1), default=1, show_default=True, help="--simulate: ranks that go on."
)
@json_option("figures")
def stream(
    out: str, benched: bool, simulated: bool, source: str | None, overrides: tuple[str, ...], side: int, batch: int,
    workers: int | None, images: int, gpu: float, ranks: int, resume: int | None, then: int, as_json: bool,
) -> None:  # fmt: skip
    """Look at how a corpus, a folder or a URL, streams into training.

    \b
    medshards stream corpus --bench --workers 8
    medshards stream corpus --simulate --ranks 8 --workers 4 --resume 120 --then 6 --batch 48
    medshards stream s3://bucket/corpus --simulate --set data.window_gb=20

    --simulate reads no sample. Its exit status is 1 when a sample was missing, repeated or out of its place.
    """
    if benched == simulated:
        raise click.UsageError("give --bench or --simulate")
    import torch

    from medshards.shards.read.chain import CorpusError
    from medshards.shards.read.corpus import BadSample
    from medshards.shards.read.storage import StoreError
    from medshards.train.data.bench import bench
    from medshards.train.data.feed import WorkerLost
    from medshards.train.data.open import open_data
    from medshards.train.data.simulate import simulate
    from medshards.train.run.config import ConfigError, load_config

    torch.set_num_threads(1)
    try:
        config = load_config(source, overrides)
        data = open_data(config, out, side)
        workers = config.data.workers if workers is None else workers
        if benched:
            with progress_bar("stream") as progress:
                timing = bench(
                    data.plan, data.samples, images, batch, workers, gpu,
                    lambda done: progress("images", done, 2 * images),
                )  # fmt: skip
            tell(
                json.dumps({**timing._asdict(), "needed": timing.needed}) if as_json else _bench_text(timing)
            )
            return
        begin = [(ranks, workers, resume)] if resume else []
        found = simulate(data.plan, batch, [*begin, (then if resume else ranks, workers, 0)])
    except (ConfigError, CorpusError, StoreError, BadSample, WorkerLost, ValueError) as error:
        tell(f"Error: {error}", err=True)
        sys.exit(1)
    if as_json:
        tell(json.dumps({**found._asdict(), "quality": found.quality._asdict()}))
    else:
        _print_simulation(found, batch)
    if found.missing or found.repeated or found.moved:
        sys.exit(1)


def _bench_text(timing: Timing) -> str:
    whole = 1 / timing.one
    parts = ", ".join(
        f"{name} {100 * getattr(timing, name) / whole:.0f} %" for name in ("read", "decode", "resize", "pack")
    )
    used, needed = counted(timing.workers, "worker"), counted(timing.needed, "worker")
    load = os.getloadavg()[0]
    return (
        f"one process: {timing.one:.1f} images/s, {1000 * whole:.1f} ms an image ({parts})\n"
        f"{used} on {os.cpu_count()} cores: {timing.rate:.1f} images/s (load of the machine {load:.1f})\n"
        f"a GPU of {timing.gpu:g} images/s would wait {100 * timing.wait:.0f} % of the time; {needed} with a core "
        "each can feed it"
    )


def _print_simulation(found: Simulation, batch: int) -> None:
    tell(
        f"{found.samples} samples in batches of {batch}: {found.missing} missing, {found.repeated} repeated, "
        f"{found.moved} out of their place"
    )
    tell(f"{found.open:.3g} of {found.total:.3g} GiB in {found.shards} shards are needed at a time, at most")
    table = Table(title="the order (docs/streaming.md)")
    for name in found.quality._fields:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{v}" if isinstance(v, int) else f"{v:.3f}" for v in found.quality))
    page_console(80).print(table)
