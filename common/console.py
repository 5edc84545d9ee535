"""What the commands of this room say, and how: progress on a terminal, one line a problem."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medshards.common.text import printable

Report = Callable[[str, int, int], None]  # (stage, done, total)
SHOWN = 50  # lines of one kind that are said


def tell(text: str, err: bool = False) -> None:
    """Print a line where printing is not the work: that nobody reads it any more (`train | head`) does not end that."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        stream = sys.stderr if err else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def progress_bar(title: str, console: Console | None = None) -> Iterator[Report]:
    """A progress bar for each stage that reports itself; nothing when the output is no terminal."""
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}: {stage}")
            bars.update(tasks[stage], completed=done, total=total)

        yield update


def page_console(width: int) -> Console:
    """Where tables go: as wide as the terminal, or in a pipe so many columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=width, highlight=False)


def say(line: str) -> None:
    """Tell a person something on the standard error, on one line."""
    tell(printable(line), err=True)


def say_some(lines: Sequence[str], elsewhere: str, most: int = SHOWN) -> None:
    """Say the first lines of what may be thousands; of the others how many there are, and what is done `elsewhere`."""
    for line in lines[:most]:
        say(line)
    if len(lines) > most:
        say(f"{len(lines) - most} more; {elsewhere}")
