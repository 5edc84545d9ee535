"""Options that several commands share, so that they mean the same in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from medshards.common.window import Windows

Command = TypeVar("Command", bound=Callable[..., Any])
ANSWERS = (
    "What answers: a run (its best checkpoint, else the newest), a checkpoint, a Hugging Face folder, an official .pt "
    "file, a folder of predictions, or the baseline `empty` or `everything`."
)
REPORTS = (".json", ".html", ".md", ".csv")  # what a report can be written as
PAIRED = (".json", ".html", ".md")  # … that of pairs of modalities
TABLES = (".json", ".csv", ".md", ".tex", ".html")  # … and models side by side
AGGREGATES = click.Choice(["top1", "union", "semantic"])


def check_form(out: Path | None, forms: Sequence[str]) -> None:
    """Refuse a file whose suffix says nothing that the report can be written as."""
    if out is not None and out.suffix not in forms:
        raise click.BadParameter(f"{out}: expected a name ending in {', '.join(forms)}", param_hint="--out")


def _windows(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> Windows:
    from medshards.common.window import parse_windows

    try:
        return parse_windows(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _device(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a device that torch does not know, or that is not here."""
    if value is None:
        return None
    import torch

    try:
        torch.empty(1, device=value)
    except Exception as error:
        kind, gpus = value.partition(":")[0], torch.cuda.device_count()
        expected = "expected cpu, cuda or cuda:N"
        if kind == "cuda":
            expected = (
                f"cuda:0 to cuda:{gpus - 1} are here" if gpus else "no GPU is visible to torch; take cpu"
            )
        raise click.BadParameter(f"{value!r} cannot be used: {expected}", context, parameter) from error
    return value


device = click.option(
    "--device", callback=_device, help="torch device.  [default: cuda where there is one, else cpu]"
)
_MODEL = (
    click.option(
        "--window",
        "windows",
        multiple=True,
        metavar="UNIT=LOW:HIGH",
        callback=_windows,
        help="Show volumes in this window, e.g. HU=-160:240, SUV=0:10 or ARBITRARY=0:900; repeatable.  [default: that "
        "of a corpus]",
    ),
    click.option(
        "--batch", type=click.IntRange(1), help="Images asked at once.  [default: 8 on a GPU, else 1]"
    ),
    click.option(
        "--precision",
        type=click.Choice(["bf16", "fp32"]),
        help="Of the model.  [default: bf16 on a GPU, else fp32]",
    ),
    click.option(
        "--base", help="Where the weights are that LoRA adapters were trained on.  [default: where they were]"
    ),
    device,
)


def model(command: Command) -> Command:
    """How a model is asked: windows, batch, precision, base, device."""
    for option in reversed(_MODEL):
        command = option(command)
    return command
