"""Kvasir-SEG: polyps in colonoscopy stills.

Jha et al., MultiMedia Modeling 2020. Masks are JPEGs with the image's name: white above 127, ringing at the borders.
`kavsir_bboxes.json` holds boxes of the same polyps and is not read.
"""

from __future__ import annotations

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths

NAME = "{name:c[jk]" + "[0-9a-z]" * 23 + "}.jpg"


class Converter(Pictures):
    """One case an image; group = image (no patient key is published)."""

    slug = "kvasir_seg"
    layouts = (paths("kvasir-seg.zip (Simula, Kaggle)", f"images/{NAME}", f"masks/{NAME}"),)
    key = "{name}"
    masks = one("polyp", raster.read_threshold)
