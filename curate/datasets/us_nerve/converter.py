"""Ultrasound Nerve Segmentation: the brachial plexus in neck ultrasound (Kaggle competition, 2016).

`<subject>_<image>.tif` with its mask `<subject>_<image>_mask.tif`; an empty mask says that the nerve is not visible,
and the image is kept as a negative. The run lengths in train_masks.csv repeat the masks and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = re.compile(r"\d{1,2}_\d{1,3}")


class Converter(Source):
    """One case an image; group = subject (the number before the underscore)."""

    slug = "us_nerve"
    layouts = (Layout("Kaggle competition", ("train/[0-9]*_[0-9]*_mask.tif",)),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        files = tree.glob("train/*.tif")
        masks = {f.stem.removesuffix("_mask"): f for f in files if f.stem.endswith("_mask")}
        images = {f.stem: f for f in files if not f.stem.endswith("_mask")}
        for key in sorted(images.keys() | masks.keys()):
            if not NAME.fullmatch(key):
                yield Reject("not_native", "its name is not <subject>_<image>", (images | masks)[key].name)
            elif key not in masks:
                yield Reject("missing_mask", f"no train/{key}_mask.tif", images[key].name)
            elif key not in images:
                yield Reject("missing_image", f"no train/{key}.tif", masks[key].name)
            else:
                subject = key.partition("_")[0]
                yield Case(key, {"image": images[key], "mask": masks[key]}, subject, "train")
        for image in tree.glob("test/*.tif"):
            yield Skip(image.name, "official test image without public mask")

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "nerve", raster.read_binary)
