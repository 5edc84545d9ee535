"""Options that several commands share."""

from __future__ import annotations

import click

from curate.slices import check_rule


def _slices(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if ctx.params.get("profile") == "paper":
        raise click.UsageError("--slices does not go with --profile paper: there the paper's rule decides")
    try:
        return check_rule(value.replace(":", " "))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


profile = click.option(
    "--profile",
    type=click.Choice(["default", "paper"]),
    default="default",
    show_default=True,
    is_eager=True,  # --slices depends on it
    help="default: split by patient or other group, all images kept. paper: Table 1 reproduced.",
)
slices = click.option(
    "--slices",
    metavar="RULE",
    callback=_slices,
    help="Which slices of a volume: all, annotated (default), largest, middle or every:K.",
)
max_side = click.option(
    "--max-side",
    metavar="PX",
    type=click.IntRange(16),
    help="Make larger images smaller: averaged by area, masks by nearest pixel. Default: native.",
)
