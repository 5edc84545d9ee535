"""Command `demo`: the whole way on phantoms, with the very commands that a user types."""

from __future__ import annotations

import importlib
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from medshards.cli import COMMANDS
from medshards.common.commands import LocalPath
from medshards.common.text import printable
from medshards.curate import phantoms

# Of different kinds: thin merged vessels; lesions of two classes; JPEGs kept byte for byte; touching glands with
# ids; a volume in slices; an external test set. Where one has no phantom, the next of the list steps in.
DATASETS = (
    "drive",
    "busi",
    "kvasir_seg",
    "glas",
    "mucic_hl60",
    "ph2",
    "pannuke",
    "ravir",
    "hc18",
    "us_nerve",
)
COUNT = 6
MARK = ".medshards-demo"  # a folder without it is not the demo's to empty
WRITTEN = ("raw", "corpus", "run", "evaluation.md", "overview.png", "site", MARK)


@click.command()
@click.option(
    "--out",
    type=LocalPath(file_okay=False),
    default="demo",
    show_default=True,
    help="Folder of everything the demo writes.",
)
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="Training updates.")
def demo(out: Path, steps: int) -> None:
    """Run the whole way on phantoms of six datasets, in a minute or two.

    Fake downloads, build, verify, stats, training of a tiny model, evaluation, an overview picture, a site to browse:
    each step is the command that is printed. Whatever an earlier demo left in the folder is removed first.
    """
    begin = time.monotonic()
    _clear(out)
    for number, line in enumerate(lines := commands(out, steps), start=1):
        click.secho(f"\n[{number}/{len(lines)}] $ medshards {' '.join(line)}", bold=True)
        if status := run(line):
            click.echo(
                f"Error: step {number} of {len(lines)} failed, `medshards {line[0]}`; see above", err=True
            )
            sys.exit(status)
    click.echo(
        f"\nDone in {time.monotonic() - begin:.0f} s. The figures are those of a tiny model from random weights after "
        f"{steps} updates on phantoms.\n"
        f"Look at {out / 'overview.png'} and {out / 'evaluation.md'}, or browse it all:\n"
        f"{(out / 'site' / 'index.html').resolve().as_uri()}"
    )


def commands(out: Path, steps: int) -> list[list[str]]:
    """The command lines of the demo, in order."""
    there = phantoms.slugs()
    slugs = [slug for slug in DATASETS if slug in there][:COUNT]
    raw, corpus, run_folder = str(out / "raw"), str(out / "corpus"), str(out / "run")
    return [
        ["phantom", *slugs, "--out", raw],
        ["build", *slugs, "--raw", raw, "--out", corpus, "--workers", "2"],
        ["verify", corpus],
        ["stats", corpus],
        ["train", "--data", corpus, "--out", run_folder, "--config", "tiny", "--steps", str(steps)],
        ["evaluate", "--data", corpus, "--checkpoint", run_folder, "--out", str(out / "evaluation.md")],
        ["overview", corpus, "--out", str(out / "overview.png")],
        ["site", corpus, "--out", str(out / "site")],
    ]


def run(line: Sequence[str]) -> int:
    """Run a command of medshards in this process; its exit status."""
    name, *arguments = line
    command: click.Command = getattr(importlib.import_module(COMMANDS[name][0]), name)
    try:
        command.main(arguments, prog_name=f"medshards {name}")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _clear(out: Path) -> None:
    """Make the folder, without what an earlier demo wrote; refuse a folder that holds anything else."""
    if out.exists() and (found := sorted(out.iterdir())):
        if not (out / MARK).is_file():
            raise click.UsageError(f"{out} is not empty and no earlier demo; choose another --out")
        if others := [path.name for path in found if path.name not in WRITTEN or path.is_symlink()]:
            named = printable(", ".join(others))
            raise click.UsageError(
                f"{out} holds what no demo wrote: {named}; move it away, or choose another --out"
            )
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        click.echo(f"removed the earlier demo in {out}")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
