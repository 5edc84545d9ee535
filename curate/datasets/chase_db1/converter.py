"""CHASE_DB1: retinal vessels in colour fundus photographs of school children.

Owen et al., 2011, doi 10.1161/ATVBAHA.111.225219; Fraz et al., IEEE TBME 59(9), 2012. The vessel tree is the
1-bit mask of the first observer, `_1stHO`; the second observer, `_2ndHO`, is not read.
"""

from __future__ import annotations

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths

IMAGE = "Image_{child:[0-9][0-9]}{eye:[LR]}.jpg"
MASK = "Image_{child}{eye}_1stHO.png"


class Converter(Pictures):
    """One case an eye; group = child (the number in the name, left and right eye together)."""

    slug = "chase_db1"
    layouts = (
        paths("official zip", IMAGE, MASK),
        paths("folders Images and Masks", f"Images/{IMAGE}", f"Masks/{MASK}"),
        paths("folders Images and Labels", f"Images/{IMAGE}", f"Labels/{MASK}"),
    )
    ignored = {"**/Image_*_2ndHO.png": "vessels of the second observer"}
    key = "Image_{child}{eye}"
    group = "{child}"
    masks = one("vessel", raster.read_binary)
