"""Training runs: curves from their logs, the last overlays of their validation, reports that lie in their folders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medshards.shards.view.plot import lines

LOG, BOARD, CONFIG = "log.jsonl", "tensorboard", "config.yaml"
POINTS = 400  # of a curve that are drawn
SAFE = re.compile(r"[\w.-]+\.html", re.ASCII)


@dataclass(frozen=True)
class Run:
    """A run folder as `medshards train --out` writes it. Raises FileNotFoundError where it has no log."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / LOG).is_file():
            raise FileNotFoundError(
                f"{self.folder} is no run: it has no {LOG}; `medshards train --out` makes one"
            )

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def curves(self) -> list[str]:
        """Plots (SVG) of loss, learning rates and validation over steps, as far as the log has come."""
        logged = _logged(self.folder / LOG)
        plots = [
            _plot("loss", {"loss": [(row["step"], row["loss"]) for row in logged if "loss" in row]}),
            _plot(
                "learning rate",
                _series(logged, lambda row: {k[3:]: v for k, v in row.items() if k[:3] == "lr/"}),
            ),
            _plot("validation", _series(logged, lambda row: row.get("validation", {}))),
            *(
                _plot(
                    f"validation: {slug}",
                    _series(logged, lambda row, s=slug: row.get("datasets", {}).get(s, {})),
                )
                for slug in sorted({s for row in logged for s in row.get("datasets", {})})
            ),
        ]
        return [plot for plot in plots if plot]

    def config(self) -> str:
        """Content of config.yaml."""
        path = self.folder / CONFIG
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @cached_property
    def overlays(self) -> list[tuple[str, bytes]]:
        """Name and PNG of the last overlays in TensorBoard's files; none where tensorboard is not installed."""
        if not (self.folder / BOARD).is_dir():
            return []
        try:
            from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator
        except ImportError:
            return []
        events = EventAccumulator(str(self.folder / BOARD), {IMAGES: 1}).Reload()
        return [(tag, events.Images(tag)[-1].encoded_image_string) for tag in events.Tags()[IMAGES]]

    @property
    def reports(self) -> list[str]:
        """Names of the pages that `medshards evaluate --out` wrote into the folder."""
        return sorted(
            path.name for path in self.folder.glob("*.html") if SAFE.fullmatch(path.name) and path.is_file()
        )


def _logged(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; the last may not be whole yet."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _series(logged: list[dict[str, Any]], values: Any) -> dict[str, list[tuple[float, float]]]:
    """Points (step, value) by name."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in logged:
        for name, value in values(row).items():
            if isinstance(value, int | float):
                series.setdefault(name, []).append((row["step"], value))
    return series


def _plot(title: str, series: Mapping[str, list[tuple[float, float]]]) -> str:
    """A plot of the series from 0 up; "" where there are no points."""
    most = max((y for points in series.values() for _, y in points), default=None)
    if most is None:
        return ""
    thin = {name: points[:: -(-len(points) // POINTS)] for name, points in series.items() if points}
    return lines(title, "step", title, thin, 0.0, most if most > 0 else 1.0)
