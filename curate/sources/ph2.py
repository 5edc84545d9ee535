"""PH²: melanocytic lesions in dermoscopic images.

Mendonça et al., EMBC 2013. The lesion is the 1-bit (in one copy 24-bit) `_lesion.bmp`; the colour classes in `_roi/`
are not read. Only BMP files are the dataset's own: a public copy has JPEGs beside them.
"""

from __future__ import annotations

from collections.abc import Iterator

from curate.formats import raster
from curate.sample import Instance, Region, Reject, Sample
from curate.source import Case, Skip, Source
from curate.tree import Layout, Tree

ID = "IMD[0-9][0-9][0-9]"


class Converter(Source):
    """One case a lesion; group = case (patients are not published)."""

    slug = "ph2"
    layouts = (
        Layout(
            "PH2 Dataset images",
            (f"{ID}/{ID}_Dermoscopic_Image/{ID}.bmp", f"{ID}/{ID}_lesion/{ID}_lesion.bmp"),
        ),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem.removesuffix("_lesion"): f for f in tree.glob(mask_pattern)}
        for key in sorted(images.keys() | masks.keys()):
            if key not in masks:
                yield Reject("missing_mask", f"no {key}/{key}_lesion/{key}_lesion.bmp", images[key].name)
            elif key not in images:
                yield Reject("missing_image", f"no {key}/{key}_Dermoscopic_Image/{key}.bmp", masks[key].name)
            else:
                yield Case(key, {"image": images[key], "mask": masks[key]}, key)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        mask = raster.read_binary(case.files["mask"])
        raster.require_size(mask, image, case.files["mask"])
        lesion = Instance(self.concept("lesion", case.files["mask"]), Region.of(mask), "lesion")
        yield Sample(case.key, image, [lesion], case.group)
