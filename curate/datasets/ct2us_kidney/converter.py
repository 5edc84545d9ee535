"""CT2USforKidneySeg: kidneys in ultrasound-like pictures that a network made of CT slices.

Song et al., Ultrasonics 2022; the CT is KiTS19. Images in slice/, masks of the same names in mask/; Kaggle doubles both
folders. The mask's foreground is one value; where soft borders bring more, the brighter half counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths
from medshards.curate.source import Case
from medshards.curate.tree import File

CASE = re.compile(r"case[_-]?(\d{1,5})(?!\d)", re.IGNORECASE)
BLOCK = 100  # pictures; the 210 scans of KiTS19 gave about 22 each


def read_mask(file: File) -> NDArray[np.bool_]:
    """A mask of 0 and one other value, whatever that is, or else the values above 127."""
    grey = raster.read_grey(file)
    return grey > 0 if len(np.unique(grey)) <= 2 else raster.require_foreground(grey, 127, file)


class Converter(Pictures):
    """One case a picture; group = KiTS19 case where the name tells it, else block of a hundred consecutive numbers."""

    slug = "ct2us_kidney"
    layouts = (
        paths("Kaggle", "slice/slice/{name}.png", "mask/mask/{name}.png"),
        paths("the authors' folders", "slice/{name}.png", "mask/{name}.png"),
    )
    key = "{name}"
    masks = one("kidney", read_mask)

    def case(self, fields: Mapping[str, str], files: Mapping[str, File]) -> Case:
        case = super().case(fields, files)
        return replace(case, group=group_of(fields["name"]) or case.group)


def group_of(stem: str) -> str | None:
    """The scan that a name tells, or the block of its number."""
    if scan := CASE.search(stem):
        return f"case-{int(scan[1]):05d}"
    return f"block-{int(stem) // BLOCK:04d}" if stem.isdecimal() else None
