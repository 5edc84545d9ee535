"""What the commands of evaluation show beside their reports: progress, samples that could not be read, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from medshards.evaluate.dataset import Dataset

SHOWN = 20  # unreadable samples printed; all are in the report


def json_text(facts: object) -> str:
    """A report as JSON."""
    return json.dumps(facts, indent=1) + "\n"


@contextmanager
def progress(datasets: Sequence[Dataset]) -> Iterator[Callable[[str], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("evaluate", total=sum(len(d.corpus) for d in datasets))
        yield lambda slug: bar.update(task, advance=1, description=f"evaluate: {slug}")


def end_unread(unreadable: Sequence[tuple[str, str, str]]) -> None:
    """Name samples (dataset, key, reason) that could not be read, and end with status 1 where there are any."""
    for slug, key, reason in unreadable[:SHOWN]:
        click.echo(f"not read: {slug}/{key}: {reason}", err=True)
    if unreadable:
        click.echo(f"{len(unreadable)} samples could not be read and are in no figure", err=True)
        sys.exit(1)
