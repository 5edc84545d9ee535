"""CT2USforKidneySeg: kidneys in ultrasound-like pictures that a network made of CT slices.

Song et al., Ultrasonics 2022; the CT is KiTS19. Images in slice/, masks of the same names in mask/; Kaggle doubles both
folders. The mask's foreground is one value; where soft borders bring more, the brighter half counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

CASE = re.compile(r"case[_-]?(\d{1,5})(?!\d)", re.IGNORECASE)
BLOCK = 100  # pictures; the 210 scans of KiTS19 gave about 22 each


class Converter(Source):
    """One case a picture; group = KiTS19 case where the name tells it, else block of a hundred consecutive numbers."""

    slug = "ct2us_kidney"
    layouts = (
        Layout("Kaggle", ("slice/slice/*.png", "mask/mask/*.png")),
        Layout("the authors' folders", ("slice/*.png", "mask/*.png")),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images, masks = ({f.stem: f for f in tree.glob(pattern)} for pattern in tree.layout.needs)
        for pair in pairs(images, masks, *tree.layout.needs):
            if isinstance(pair, Reject):
                yield pair
            else:
                key = make_key(pair.key)
                yield Case(key, pair.files, group_of(pair.key) or key)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "kidney", read_mask)


def read_mask(file: File) -> NDArray[np.bool_]:
    """A mask of 0 and one other value, whatever that is, or else the values above 127."""
    grey = raster.read_grey(file)
    return grey > 0 if len(np.unique(grey)) <= 2 else raster.require_foreground(grey, 127, file)


def group_of(stem: str) -> str | None:
    """The scan that a name tells, or the block of its number."""
    if scan := CASE.search(stem):
        return f"case-{int(scan[1]):05d}"
    return f"block-{int(stem) // BLOCK:04d}" if stem.isdecimal() else None
