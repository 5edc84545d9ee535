"""MUCIC Colon Tissue: simulated 3D fluorescence microscopy of cell nuclei in colon tissue.

Svoboda, Homola, Stejskal, ICIAR 2011. Two noise levels, in folders (or zips) of their own. Nuclei that touch may share
a value; the build makes components.
"""

from __future__ import annotations

import re

from medshards.curate.datasets.mucic import Volumes
from medshards.curate.tree import Layout

FOLDER = "*ColonTissue_*Noise*/**/"


class Converter(Volumes):
    """Group = volume number (both noise levels show the same phantom)."""

    slug = "mucic_colon"
    layouts = (
        Layout("HDF5 zips, one folder each", (FOLDER + "image-final_[0-9][0-9][0-9][0-9].h*5",)),
        Layout("TIFF zips, one folder each", (FOLDER + "image-final_[0-9][0-9][0-9][0-9].tif",)),
    )
    folders = (FOLDER,)
    path = re.compile(
        r".*ColonTissue_(?P<noise>Low|High)Noise[^/]*/(?:.*/)?image-final_(?P<number>\d{4})\.\w+"
    )
    told = "its path is not ColonTissue_<Low|High>Noise…/image-<NNNN>"

    def names(self, match: re.Match[str]) -> tuple[str, str]:
        return f"{match['noise'].lower()}-{match['number']}", match["number"]
