"""Kvasir-SEG: polyps in colonoscopy stills.

Jha et al., MultiMedia Modeling 2020. Masks are JPEGs with the image's name: white above 127, ringing at the borders.
`kavsir_bboxes.json` holds boxes of the same polyps and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = "c[jk]" + "[0-9a-z]" * 23 + ".jpg"


class Converter(Source):
    """One case an image; group = image (no patient key is published)."""

    slug = "kvasir_seg"
    layouts = (Layout("kvasir-seg.zip (Simula, Kaggle)", (f"images/{NAME}", f"masks/{NAME}")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem: f for f in tree.glob(mask_pattern)}
        for pair in pairs(images, masks, "images/*.jpg", "masks/*.jpg"):
            yield pair if isinstance(pair, Reject) else Case(pair.key, pair.files, pair.key)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "polyp", raster.read_threshold)
