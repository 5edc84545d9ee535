"""Chest X-ray images with pneumothorax masks: SIIM-ACR 2019 (stage 1), repacked as PNG on Kaggle.

Names are RUNNING-NUMBER_train|test_0|1_.png, 1 where there is a pneumothorax; the numbers begin again in each split,
so the whole name is the key. The profile `paper` keeps the 290 positive images of the test list.
"""

from __future__ import annotations

from collections.abc import Iterator

from curate.formats import raster
from curate.sample import Instance, Region, Reject, Sample
from curate.source import Case, Skip, Source
from curate.tree import Layout, Tree

NAME = "[0-9]*_t[re][as]*_[01]_.png"


class Converter(Source):
    """One case an image; official split from its name; group = image (no patient key is published)."""

    slug = "chest_xray_pneumothorax"
    layouts = (Layout("Kaggle siim-acr-pneumothorax", (f"png_images/{NAME}", f"png_masks/{NAME}")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images, masks = ({f.stem.strip("_"): f for f in tree.glob(p)} for p in tree.layout.needs)
        for key in sorted(images.keys() | masks.keys()):
            _, split, positive = key.split("_")
            if key not in masks:
                yield Reject("missing_mask", f"no png_masks/{key}_.png", images[key].name)
            elif key not in images:
                yield Reject("missing_image", f"no png_images/{key}_.png", masks[key].name)
            else:
                files = {"image": images[key], "mask": masks[key]}
                yield Case(key, files, key, split, {"pneumothorax": positive == "1"})

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        file = case.files["mask"]
        mask = raster.read_threshold(file)
        raster.require_size(mask, image, file)
        if mask.any() != case.facts["pneumothorax"]:
            said, found = ("a", "no") if case.facts["pneumothorax"] else ("no", "a")
            raise Reject(
                "label_mismatch", f"its name says {said} pneumothorax, the mask shows {found} one", file.name
            )
        pneumothorax = Instance(self.concept("pneumothorax", file), Region.of(mask), "pneumothorax")
        yield Sample(case.key, image, [pneumothorax], case.group, case.split)
