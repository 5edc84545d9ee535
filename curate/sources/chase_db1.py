"""CHASE_DB1: retinal vessels in colour fundus photographs of school children.

Owen et al., 2011, doi 10.1161/ATVBAHA.111.225219; Fraz et al., IEEE TBME 59(9), 2012. The vessel tree is the
1-bit mask of the first observer, `_1stHO`; the second observer, `_2ndHO`, is not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from curate.formats import raster
from curate.sample import Instance, Region, Reject, Sample
from curate.source import Case, Skip, Source
from curate.tree import Layout, Tree

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
        for key in sorted(images.keys() | masks.keys()):
            if key not in masks:
                yield Reject("missing_mask", f"no {key}_1stHO.png belongs to it", images[key].name)
            elif key not in images:
                yield Reject("missing_image", f"no {key}.jpg belongs to it", masks[key].name)
            else:
                child = key.removeprefix("Image_")[:2]
                yield Case(key, {"image": images[key], "mask": masks[key]}, child)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        mask = raster.read_binary(case.files["mask"])
        raster.require_size(mask, image, case.files["mask"])
        vessel = Instance(self.concept("vessel", case.files["mask"]), Region.of(mask), "vessel")
        yield Sample(case.key, image, [vessel], case.group)
