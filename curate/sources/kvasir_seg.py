"""Kvasir-SEG: polyps in colonoscopy stills.

Jha et al., MultiMedia Modeling 2020. Masks are JPEGs with the image's name: white above 127, ringing at the borders.
`kavsir_bboxes.json` holds boxes of the same polyps and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from curate.formats import raster
from curate.sample import Instance, Region, Reject, Sample
from curate.source import Case, Skip, Source
from curate.tree import Layout, Tree

NAME = "c[jk]" + "[0-9a-z]" * 23 + ".jpg"


class Converter(Source):
    """One case an image; group = image (no patient key is published)."""

    slug = "kvasir_seg"
    layouts = (Layout("kvasir-seg.zip (Simula, Kaggle)", (f"images/{NAME}", f"masks/{NAME}")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem: f for f in tree.glob(mask_pattern)}
        for key in sorted(images.keys() | masks.keys()):
            if key not in masks:
                yield Reject("missing_mask", f"no masks/{key}.jpg", images[key].name)
            elif key not in images:
                yield Reject("missing_image", f"no images/{key}.jpg", masks[key].name)
            else:
                yield Case(key, {"image": images[key], "mask": masks[key]}, key)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        mask = raster.read_threshold(case.files["mask"])
        raster.require_size(mask, image, case.files["mask"])
        polyp = Instance(self.concept("polyp", case.files["mask"]), Region.of(mask), "polyp")
        yield Sample(case.key, image, [polyp], case.group)
