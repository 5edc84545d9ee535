"""What a run tells about itself: TensorBoard, log.jsonl, a live line in a terminal or plain lines in a log.

Only the first rank writes. After a resume what had been written beyond the resumed step is removed, so that
every file reads as if the run had never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from medshards.common.files import write_atomically
from medshards.train.run.validation import KINDS, Overlay, Report

LOG, BOARD = "log.jsonl", "tensorboard"


class _Console(Console):
    """A console that falls silent when nobody reads it any more: the run goes on, and its log file has everything."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Monitor:
    """Logs one run; on other ranks than the first every call does nothing."""

    def __init__(self, run: Path, step: int, total: int, enabled: bool) -> None:
        self.run, self.enabled = run, enabled
        if not enabled:
            return
        _truncate(run / LOG, step)
        self._log = (run / LOG).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / BOARD), purge_step=step + 1)
        self._console = _Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[line]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=total, completed=step, line="")
        self._progress.start()

    def say(self, line: str) -> None:
        """A plain line for people."""
        if self.enabled:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def tick(self, step: int) -> None:
        """An update was made."""
        if self.enabled:
            self._progress.update(self._task, completed=step)

    def update(self, step: int, values: Mapping[str, float], terms: Mapping[str, float]) -> None:
        """Numbers of one update: loss, rates, norm, speed; and every term of the loss."""
        if not self.enabled:
            return
        self._write({"step": step, **values, "terms": dict(terms)})
        for name, value in values.items():
            self._board.add_scalar(name if "/" in name else f"train/{name}", value, step)
        for name, value in terms.items():
            self._board.add_scalar(f"loss/{name}", value, step)
        line = (
            f"loss {values['loss']:.4g}  norm {values['grad_norm']:.3g}  {values['images_per_s']:.3g} images/s  "
            f"waiting {values['data_wait']:.0%}"
        )
        self._progress.update(self._task, line=line)
        if not self._console.is_terminal:
            self.say(f"step {step}/{self._progress.tasks[0].total:.0f}  epoch {values['epoch']:.2f}  {line}")

    def validation(self, step: int, report: Report, kind: str) -> None:
        """A validation: its means in every log, its overlays in TensorBoard."""
        if not self.enabled:
            return
        means = {name: mean for name in KINDS if (mean := report.mean(name)) is not None}
        for reason in report.bad:
            self.note(f"left out of the validation, a bad sample: {reason}")
        left_out = {"left_out": report.left_out} if report.left_out else {}
        self._write({"step": step, "validation": means, "datasets": report.datasets, **left_out})
        for name, mean in means.items():
            self._board.add_scalar(f"validation/{name}", mean, step)
        for slug, row in report.datasets.items():
            for name, value in row.items():
                self._board.add_scalar(f"validation_{name}/{slug}", value, step)
        for place, overlay in enumerate(report.overlays):
            self._board.add_image(f"overlay/{place} {overlay.name} {overlay.text}", draw(overlay), step)
        self._board.flush()
        if kind in means:
            self.say(f"step {step}  validation Dice ({kind}) {means[kind]:.4f}")

    def note(self, what: str) -> None:
        """A fact that matters beyond the moment: into the log file too."""
        if self.enabled:
            self._write({"note": what})
            self.say(what)

    def close(self, dropped: Mapping[str, int]) -> None:
        """Say what was left out, flush and close everything."""
        if self.enabled:
            if dropped:
                self.note("left out: " + ", ".join(f"{count} {what}" for what, count in dropped.items()))
            self._progress.stop()
            self._board.close()
            self._log.close()

    def _write(self, row: dict[str, Any]) -> None:
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()


def draw(overlay: Overlay) -> torch.Tensor:
    """The image (3, S, S) uint8 with the found mask in red and the true one in green; both together yellow."""
    image = overlay.image.float() * 0.6
    image[0] += 100 * torch.from_numpy(overlay.found)
    image[1] += 100 * torch.from_numpy(overlay.truth)
    return image.clamp(0, 255).to(torch.uint8)


def _truncate(log: Path, step: int) -> None:
    if not log.is_file():
        return
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the process died while it wrote this line
            continue
        if row.get("step", 0) <= step:
            kept.append(line + "\n")
    write_atomically(log, "".join(kept).encode())
