"""TN3K: thyroid nodules in B-mode ultrasound (external test set).

Gong et al., ISBI 2021. Masks are JPEGs with the image's name: nodule above 127, compression noise below. Names begin
again in each split, so the split is part of the key. The four folders are found wherever they lie; TG3K and DDTI, which
come in the same zip, have others.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

SPLITS = ("trainval", "test")
NAME = "[0-9][0-9][0-9][0-9]"


class Converter(Source):
    """One case an image; official split from its folder; group = image (no patient key is published)."""

    slug = "tn3k"
    layouts = tuple(
        Layout(f"{split} folders", (f"{split}-{role}/{NAME}.jpg",))
        for role in ("image", "mask")
        for split in SPLITS
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for split in SPLITS:
            images = {f.stem: f for f in tree.glob(f"{split}-image/{NAME}.jpg")}
            masks = {f.stem: f for f in tree.glob(f"{split}-mask/{NAME}.jpg")}
            for pair in pairs(images, masks, f"{split}-image/*.jpg", f"{split}-mask/*.jpg"):
                if isinstance(pair, Reject):
                    yield pair
                else:
                    key = f"{split}-{pair.key}"
                    yield Case(key, pair.files, key, split)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "nodule", raster.read_threshold)
