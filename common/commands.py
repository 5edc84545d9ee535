"""What commands of all rooms have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from medshards.common.files import local_path
from medshards.common.text import near

MOST_WORKERS = 1024  # a larger number is a slip of the hand


def workers_option(what: str) -> Callable[[Any], Any]:
    """The option --workers; what: what the processes do."""
    kind = click.IntRange(1, MOST_WORKERS)
    return click.option("--workers", type=kind, default=1, show_default=True, help=what)


def json_option(what: str) -> Callable[[Any], Any]:
    """The option --json; what: what is printed."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


class LocalPath(click.Path):
    """A click type: a path as `local_path` gives it.

    instead: what to do for a URL. options: those of click.Path.
    """

    def __init__(self, instead: str = "", **options: Any) -> None:
        super().__init__(path_type=Path, **options)
        self.instead = instead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            local_path(value)
        except ValueError as error:
            self.fail(f"{error}; {self.instead}" if self.instead else str(error), param, ctx)
        return super().convert(value, param, ctx)


own_catalogs = click.option(
    "--catalog",
    "extra",
    type=LocalPath(),
    multiple=True,
    help="A catalog file of your own, added to the built-in one; repeatable.",
)


class Group(click.Group):
    """A click group that answers a misspelt command with the nearest ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{near(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)
