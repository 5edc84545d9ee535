"""What `build` asks of a cluster, and what it tells of one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from medshards.common.console import say, tell
from medshards.common.text import printable
from medshards.curate.catalog.entry import Entry
from medshards.shards.build.engine import Engine
from medshards.shards.build.place import WORK
from medshards.shards.cluster import slurm
from medshards.shards.cluster.status import statuses
from medshards.shards.cluster.units import read_unit
from medshards.shards.encode.policy import Making

SHOWN = 10  # numbers of units that are told
USED = {
    "local": (),
    "ray": ("ray", "mem"),
    "slurm": ("units", "mem", "time", "partition", "account", "sbatch"),
}
BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _mem(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9]\d*[KMGT]", value):
        raise click.BadParameter(f"{value!r} is no size such as 8G")
    return value


OPTIONS = (
    click.option(
        "--ray",
        metavar="ADDRESS",
        help="Of the Ray cluster: HOST:PORT or ray://HOST:PORT.  [default: the one here]",
    ),
    click.option(
        "--units", type=click.IntRange(1), help="Jobs a dataset is divided into.  [default: 2 GiB each]"
    ),
    click.option(
        "--mem", callback=_mem, help="Memory of each job or task, such as 8G.  [default: the cluster's]"
    ),
    click.option("--time", help="Time limit of each, such as 4:00:00.  [default: that of the cluster]"),
    click.option("--partition", help="Partition."),
    click.option("--account", help="Account."),
    click.option(
        "--sbatch", multiple=True, metavar="OPTION", help="Any other option, such as --qos=long; repeatable."
    ),
)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what to ask of a cluster."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def require_used(engine: str, asked: Mapping[str, Any]) -> None:
    """Raises click.UsageError for options that another engine takes."""
    unused = [name for name, value in asked.items() if value and name not in USED[engine]]
    if unused:
        takers = [each for each, names in USED.items() if unused[0] in names]
        raise click.UsageError(f"--{unused[0]}: only with --engine {' or '.join(takers)}")


def ray_engine(asked: Mapping[str, Any]) -> Engine:
    """The engine on the Ray cluster that was asked for."""
    from medshards.shards.cluster.ray import RayEngine

    size = asked["mem"]
    return RayEngine(
        asked["ray"] or os.environ.get("RAY_ADDRESS") or "auto", size and int(size[:-1]) * BYTES[size[-1]]
    )


def submit(
    entry: Entry, raw: Path, root: Path, out: Path, making: Making, catalog: Path | None, workers: int,
    passed_on: list[str], asked: Mapping[str, Any],
) -> None:  # fmt: skip
    """Hand a dataset to Slurm, and say which jobs build it; passed_on: further words for the `build` that ends it."""
    given = {name: asked[name] for name in ("units", "mem", "time", "partition", "account")}
    wanted = slurm.Asked(workers, **given, extra=asked["sbatch"])
    job = slurm.submit(entry, raw, root, out, making, catalog, wanted, passed_on)
    tell(
        f"{entry.slug}: {job.cases} cases in {job.units} units, job {job.array or 'none'}; job {job.last} assembles; "
        f"its log: {out / WORK / f'{entry.slug}.log'}"
    )


def join_job(out: Path, slug: str) -> None:
    """Stay away from a dataset that jobs of Slurm build; as the last of them say which units it has to do itself."""
    slurm.require_no_job(out, slug)
    for number in slurm.lost_units(out, slug):
        tasks = read_unit(out, slug, number)
        cases = f"{len(tasks)} cases, {tasks[0][0].key} to {tasks[-1][0].key}"
        say(f"{slug}: unit {number} ended unfinished ({cases}); what is missing is encoded here")


def tell_statuses(out: Path, as_json: bool) -> None:
    """Print how far each build into a corpus is."""
    found = statuses(out)
    if as_json:
        tell(json.dumps([asdict(each) for each in found], indent=1))
        return
    for each in found:
        facts = asdict(each)
        tell(f"{each.slug}: {_cases(facts)}{'' if each.at_work else '; nobody is at work: run build again'}")
        for line in [*_running(facts), *_units(facts), *_refused(facts)]:
            tell(printable(f"  {line}"))
    if not found:
        tell(f"no build is at work in {out}, and none is unfinished")


def _cases(facts: dict[str, Any]) -> str:
    of = f" of {facts['of']}" if facts["of"] is not None else ""
    text = f"{facts['cases']}{of} cases finished"
    if facts["of"] is None:  # nobody is encoding yet
        return text
    text += f", {facts['samples']} samples ({facts['rate']:.1f} a second)"
    return f"{text}, about {facts['seconds'] / 60:.0f} min left" if facts["seconds"] else text


def _running(facts: dict[str, Any]) -> list[str]:
    if facts["running"] is None:
        return []
    waiting = facts["of"] - facts["cases"] - facts["running"]
    if not facts["at_work"]:
        return [f"cases: {facts['cases']} done, {waiting} missing"]
    return [f"cases: {facts['cases']} done, {facts['running']} in work, {waiting} waiting"]


def _units(facts: dict[str, Any]) -> list[str]:
    units = facts["units"]
    if units is None:
        return []
    lines = [f"units: {units['done']} of {units['of']} done, {units['waiting']} waiting"]
    lines += [
        f"{what}: {', '.join(map(str, units[name][:SHOWN]))}{', …' if len(units[name]) > SHOWN else ''}"
        for name, what in (("running", "running"), ("lost", "lost, to be encoded by the last job"))
        if units[name]
    ]
    return [*lines, facts["queue"]] if facts["queue"] else lines


def _refused(facts: dict[str, Any]) -> list[str]:
    by_code = sorted((facts["rejects"] or {}).items())
    return ["refused: " + ", ".join(f"{count} {code}" for code, count in by_code)] if by_code else []
