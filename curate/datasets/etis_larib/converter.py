"""ETIS-LaribPolypDB: polyps in frames of colonoscopy videos.

Silva et al., Int. J. CARS 9, 2014. The official masks carry a "p" before the number of their frame, copies as PNG do
not. White is the polyp; 196 frames of 34 sequences, whose ranges are not published.
"""

from __future__ import annotations

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths

FRAME = "{number:[0-9]*}.png"
COPIES = {"ETIS-Larib": "ETIS-Larib", "ETIS": "ETIS", "PraNet, Kaggle": "ETIS-LaribPolypDB"}


class Converter(Pictures):
    """One case a frame; group = the whole dataset (its sequences are not published)."""

    slug = "etis_larib"
    layouts = (
        paths("official archive", "ETIS-LaribPolypDB/{number:[0-9]*}.tif", "Ground Truth/p{number}.tif"),
        *(
            paths(f"PNG copy ({name})", f"{folder}/images/{FRAME}", f"{folder}/masks/{FRAME}")
            for name, folder in COPIES.items()
        ),
    )
    key = "{number}"
    group = "etis_larib"
    masks = one("polyp", raster.read_threshold)
