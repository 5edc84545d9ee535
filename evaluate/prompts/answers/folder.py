"""Answers made elsewhere: a folder of mask files, one a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from medshards.curate.formats.pictures import png
from medshards.evaluate.prompts.answers.answerer import Outcome
from medshards.evaluate.prompts.prompt import Prompt
from medshards.evaluate.prompts.target import Part, Scene


class PredictionFolder:
    """<folder>/<key of the picture or volume>/<prompt id with "__" for "/">.png or .nii.gz; non-zero is inside.

    A volume has the axes of the corpus, (column, row, slice) in NIfTI's order, as `medshards evaluate --nifti` writes
    them for a corpus on its own grid. An empty file `….refused` says that the model refused. A prompt without a file
    has failed.
    """

    kinds: tuple[str, ...] = ("mask", "box", "points", "text")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    def answer(self, scene: Scene, concept: str, prompts: Sequence[Prompt]) -> list[Outcome]:
        """See `Answerer`."""
        return [
            self._one(scene, self.folder / scene.key / prompt.id.replace("/", "__")) for prompt in prompts
        ]

    def _one(self, scene: Scene, stem: Path) -> Outcome:
        if stem.with_name(f"{stem.name}.refused").exists():
            return Outcome("refused", reason="as its folder says")
        for suffix in (".png", ".nii.gz", ".nii"):
            path = stem.with_name(stem.name + suffix)
            if not path.exists():
                continue
            try:
                if suffix == ".png":
                    mask = png.decode(path.read_bytes()) > 0
                else:
                    mask = np.asarray(nib.load(path).dataobj).T > 0  # type: ignore[attr-defined]
            except Exception as error:  # nibabel and zlib raise errors of their own
                return Outcome("failed", reason=f"{path} cannot be read: {error}")
            if mask.shape != scene.shape:
                return Outcome("failed", reason=f"{path} is {mask.shape}, its picture {scene.shape}")
            return Outcome.of(Part(mask, (0,) * mask.ndim).within(scene.shape))
        return Outcome("failed", reason=f"{stem.parent} has no answer to {stem.name}")
