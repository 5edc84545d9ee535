"""CT2USforKidneySeg: kidneys in ultrasound-like pictures that a network made of CT slices.

Song et al., Ultrasonics 2022; the CT is KiTS19. Images in slice/, masks of the same names in mask/; Kaggle doubles both
folders. The mask's foreground is one value; where soft borders bring more, the brighter half counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from curate.formats import raster
from curate.sample import Instance, Region, Reject, Sample, make_key
from curate.source import Case, Skip, Source
from curate.tree import Layout, Tree

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
        folders = [pattern.removesuffix("*.png") for pattern in tree.layout.needs]
        images, masks = ({f.stem: f for f in tree.glob(f"{folder}*.png")} for folder in folders)
        for stem in sorted(images.keys() | masks.keys()):
            if stem not in masks:
                yield Reject("missing_mask", f"no {folders[1]}{stem}.png", images[stem].name)
            elif stem not in images:
                yield Reject("missing_image", f"no {folders[0]}{stem}.png", masks[stem].name)
            else:
                key = make_key(stem)
                yield Case(key, {"image": images[stem], "mask": masks[stem]}, group_of(stem) or key)

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image, grey = raster.read_image(case.files["image"]), raster.read_grey(file)
        raster.require_size(grey, image, file)
        mask = grey > 0 if len(np.unique(grey)) <= 2 else grey > 127
        kidney = Instance(self.concept("kidney", file), Region.of(mask), "kidney")
        yield Sample(case.key, image, [kidney], case.group)


def group_of(stem: str) -> str | None:
    """The scan that a name tells, or the block of its number."""
    if scan := CASE.search(stem):
        return f"case-{int(scan[1]):05d}"
    return f"block-{int(stem) // BLOCK:04d}" if stem.isdecimal() else None
