"""`evaluate --paired`: CT, MR and PET of the same patients side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medshards.evaluate.cli.shown import end_unread, json_text, progress

if TYPE_CHECKING:
    from medshards.common.window import Windows
    from medshards.evaluate.dataset import Dataset
    from medshards.evaluate.segmenter import Segmenter
    from medshards.train.model.answers import Rule


def compare_modalities(
    segmenter: Segmenter,
    datasets: Sequence[Dataset],
    rule: Rule,
    tolerance: float,
    windows: Windows,
    made: Mapping[str, Any],
    in_domain: Sequence[str],
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the pairs of modalities, print the report, write it to `out`."""
    from medshards.evaluate.paired.measure import Measured, measure
    from medshards.evaluate.paired.report import PairedReport

    known = {}
    for text in in_domain:
        name, equals, dice = text.rpartition("=")
        try:
            known[name] = float(dice if equals else "")
        except ValueError:
            raise click.BadParameter(f"{text!r}: expected NAME=DICE", param_hint="--in-domain") from None
    found = Measured()
    with progress(datasets) as step:
        for dataset in datasets:
            own = measure(segmenter, dataset, rule, tolerance, windows, step)
            found.scores += own.scores
            found.alone += own.alone
            found.unreadable += own.unreadable
    if not found.scores:
        raise click.ClickException("no images in pairs: their records name no partner in another modality")
    report = PairedReport(found, made, known)
    if out is not None:
        report.write(out)
    if as_json:
        click.echo(json_text(report.facts()), nl=False)
    else:
        report.print()
    end_unread(found.unreadable)
