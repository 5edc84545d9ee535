"""Ultrasound Nerve Segmentation: the brachial plexus in neck ultrasound (Kaggle competition, 2016).

`<subject>_<image>.tif` with its mask `<subject>_<image>_mask.tif`; an empty mask says that the nerve is not visible,
and the image is kept as a negative. The run lengths in train_masks.csv repeat the masks and are not read.
"""

from __future__ import annotations

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths

NAME = "train/{subject:[0-9]+}_{image:[0-9]+}"


class Converter(Pictures):
    """One case an image; group = subject (the number before the underscore)."""

    slug = "us_nerve"
    layouts = (paths("Kaggle competition", f"{NAME}.tif", f"{NAME}_mask.tif"),)
    skipped = {"test/*.tif": "official test image without public mask"}
    key = "{subject}_{image}"
    group = "{subject}"
    split = "train"
    masks = one("nerve", raster.read_binary)
