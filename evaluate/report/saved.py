"""A report as JSON with every row in it, read again to be compared."""

from __future__ import annotations

import json
from pathlib import Path

from medshards.common.text import in_words
from medshards.evaluate.report.rows import Measured
from medshards.evaluate.report.text import Report
from medshards.train.model.answers import Rule


class ReportError(ValueError):
    """A file is no report; the message says why."""


def read_report(path: Path) -> Report:
    """The report that `medshards evaluate --out FILE.json` wrote. Raises ReportError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rules = [Rule.from_facts(r) for r in content["mean_of_datasets"]]
        datasets = {d["dataset"]: (d["split"], d["instances"]) for d in content["datasets"]}
        samples = [Measured.of(sample) for sample in content["samples"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{path} is no report of `medshards evaluate --out FILE.json` ({in_words(error)}); write it again"
        ) from error
    return Report(content["made"], datasets, rules, samples)
