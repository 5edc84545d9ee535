"""TN3K: thyroid nodules in B-mode ultrasound (external test set).

Gong et al., ISBI 2021. Masks are JPEGs with the image's name: nodule above 127, compression noise below. Names begin
again in each split, so the split is part of the key. The four folders are found wherever they lie; TG3K and DDTI, which
come in the same zip, have others.
"""

from __future__ import annotations

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths

NAME = "{number:[0-9][0-9][0-9][0-9]}.jpg"


class Converter(Pictures):
    """One case an image; official split from its folder; group = image (no patient key is published)."""

    slug = "tn3k"
    layouts = (
        paths(
            "folders of a split",
            "{split:trainval,test}-image/" + NAME,
            "{split}-mask/" + NAME,
            needs=("{trainval,test}-{image,mask}/[0-9][0-9][0-9][0-9].jpg",),
        ),
    )
    ignored = {"**/{tg3k,TG3K,DDTI,ddti}/**/*": "another set, which comes in the same archive"}
    key = "{split}-{number}"
    split = "{split}"
    masks = one("nodule", raster.read_threshold)
