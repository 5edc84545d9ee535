"""Open whatever answers prompts, by a short name."""

from __future__ import annotations

from pathlib import Path

from medshards.evaluate.prompts.answers.answerer import Answerer, CopyPrompt, IgnorePrompt
from medshards.evaluate.prompts.answers.folder import PredictionFolder

HELP = (
    "copy; ignore; folder:DIR (masks made elsewhere); tracker:WEIGHTS (SAM3's tracker: masks, boxes, points); "
    "nninteractive:DIR; sam-med3d:FILE; else a run, checkpoint or weights of SAM3, asked by text."
)


def open_answerer(what: str, device: str | None = None) -> Answerer:
    """See `HELP`. Raises ImportError for a model that is not installed, OSError and the errors of `open_segmenter` for
    weights that cannot be loaded."""
    kind, _, where = what.partition(":")
    if what == "copy":
        return CopyPrompt()
    if what == "ignore":
        return IgnorePrompt()
    if kind == "folder":
        if not Path(where).is_dir():
            raise FileNotFoundError(2, "no such folder", where)
        return PredictionFolder(Path(where))
    if kind == "nninteractive":
        from medshards.evaluate.prompts.answers.volumetric import NnInteractive

        return NnInteractive.load(Path(where), device or "cuda:0")
    if kind == "sam-med3d":
        from medshards.evaluate.prompts.answers.volumetric import SamMed3D

        return SamMed3D.load(where, device or "cuda:0")
    if kind == "tracker":
        from medshards.evaluate.open import default_device
        from medshards.evaluate.prompts.answers.tracker import TrackerAnswerer

        return TrackerAnswerer.load(where, device or default_device())
    from medshards.evaluate.open import open_segmenter
    from medshards.evaluate.prompts.answers.texts import TextAnswerer
    from medshards.train.model.answers import Rule

    return TextAnswerer(open_segmenter(what, device), Rule("top1", 0.1), f"{what} (text, top1, score >= 0.1)")
