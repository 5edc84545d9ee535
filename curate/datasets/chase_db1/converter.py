"""CHASE_DB1: retinal vessels in colour fundus photographs of school children.

Owen et al., 2011, doi 10.1161/ATVBAHA.111.225219; Fraz et al., IEEE TBME 59(9), 2012. The vessel tree is the
1-bit mask of the first observer, `_1stHO`; the second observer, `_2ndHO`, is not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

IMAGE = "Image_[0-9][0-9][LR].jpg"
MASK = "Image_[0-9][0-9][LR]_1stHO.png"


class Converter(Source):
    """One case an eye; group = child (the number in the name, left and right eye together)."""

    slug = "chase_db1"
    layouts = (
        Layout("official zip", (IMAGE, MASK)),
        Layout("folders Images and Masks", (f"Images/{IMAGE}", f"Masks/{MASK}")),
        Layout("folders Images and Labels", (f"Images/{IMAGE}", f"Labels/{MASK}")),
    )
    ignored = ("**/Image_*_2ndHO.png",)  # the second observer

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem.removesuffix("_1stHO"): f for f in tree.glob(mask_pattern)}
        for pair in pairs(images, masks, "*.jpg belongs to it", "*_1stHO.png belongs to it"):
            if isinstance(pair, Reject):
                yield pair
            else:
                child = pair.key.removeprefix("Image_")[:2]
                yield Case(pair.key, pair.files, child)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "vessel", raster.read_binary)
