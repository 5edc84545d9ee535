"""Chest X-ray images with pneumothorax masks: SIIM-ACR 2019 (stage 1), repacked as PNG on Kaggle.

Names are RUNNING-NUMBER_train|test_0|1_.png, 1 where there is a pneumothorax; the numbers begin again in each split,
so the whole name is the key. The profile `paper` keeps the 290 positive images of the test list.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = "[0-9]*_t[re][as]*_[01]_.png"


class Converter(Source):
    """One case an image; official split from its name; group = image (no patient key is published)."""

    slug = "chest_xray_pneumothorax"
    layouts = (Layout("Kaggle siim-acr-pneumothorax", (f"png_images/{NAME}", f"png_masks/{NAME}")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images, masks = ({f.stem.strip("_"): f for f in tree.glob(p)} for p in tree.layout.needs)
        for pair in pairs(images, masks, "png_images/*_.png", "png_masks/*_.png"):
            if isinstance(pair, Reject):
                yield pair
            else:
                _, split, positive = pair.key.split("_")
                yield Case(pair.key, pair.files, pair.key, split, {"pneumothorax": positive == "1"})

    def load(self, case: Case) -> Iterator[Sample]:
        sample = sample_of_mask(self, case, "pneumothorax", raster.read_threshold)
        if (sample.instances[0].area > 0) != case.facts["pneumothorax"]:
            said, found = ("a", "no") if case.facts["pneumothorax"] else ("no", "a")
            message = f"its name says {said} pneumothorax, the mask shows {found} one"
            raise Reject("label_mismatch", message, case.files["mask"].name)
        yield sample
