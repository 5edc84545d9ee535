"""`evaluate --threshold`: a score for each concept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medshards.common.window import Windows
    from medshards.evaluate.dataset import Dataset
    from medshards.evaluate.segmenter import Segmenter
    from medshards.train.model.answers import Rule
    from medshards.train.run.parallel import World


def calibrated(
    threshold: str,
    out: Path | None,
    segmenter: Segmenter,
    data: str,
    opened: Sequence[Dataset],
    rule: Rule,
    windows: Windows,
    ranks: World,
) -> Rule:
    """The rule with a score for each concept: from a file, or calibrated by all ranks and written beside --out."""
    from medshards.common.console import progress_bar
    from medshards.evaluate.thresholds import Thresholds, calibrate

    if threshold != "auto":
        return Thresholds.read(Path(threshold)).rule
    if out is None:
        raise click.UsageError("--threshold auto writes its scores beside the report: give --out")
    if rule.min_score is None:
        raise click.UsageError("--threshold auto: --aggregate semantic has no score")
    concepts = {concept for dataset in opened for concept in dataset.texts}
    made = {**segmenter.facts(), "corpus": data, "corpus_digest": opened[0].corpus.digest}
    with progress_bar("calibrate") as report:
        found = calibrate(
            segmenter, data, concepts, rule, made, windows, lambda done, of: report("images", done, of), ranks
        )
    if ranks.first:
        found.write(out.with_suffix(".thresholds.json"))
    return found.rule
