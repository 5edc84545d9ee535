"""TN3K: thyroid nodules in B-mode ultrasound (external test set).

Gong et al., ISBI 2021. Masks are JPEGs with the image's name: nodule above 127, compression noise below. Names begin
again in each split, so the split is part of the key. The four folders are found wherever they lie; TG3K and DDTI, which
come in the same zip, have others.
"""

from __future__ import annotations

from collections.abc import Iterator

from curate.formats import raster
from curate.sample import Instance, Region, Reject, Sample
from curate.source import Case, Skip, Source
from curate.tree import Layout, Tree

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
            for name in sorted(images.keys() | masks.keys()):
                key = f"{split}-{name}"
                if name not in masks:
                    yield Reject("missing_mask", f"no {split}-mask/{name}.jpg", images[name].name)
                elif name not in images:
                    yield Reject("missing_image", f"no {split}-image/{name}.jpg", masks[name].name)
                else:
                    yield Case(key, {"image": images[name], "mask": masks[name]}, key, split)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        mask = raster.read_threshold(case.files["mask"])
        raster.require_size(mask, image, case.files["mask"])
        nodule = Instance(self.concept("nodule", case.files["mask"]), Region.of(mask), "nodule")
        yield Sample(case.key, image, [nodule], case.group, case.split)
