"""PH²: melanocytic lesions in dermoscopic images.

Mendonça et al., EMBC 2013. The lesion is the 1-bit (in one copy 24-bit) `_lesion.bmp`; the colour classes in `_roi/`
are not read. Only BMP files are the dataset's own: a public copy has JPEGs beside them.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

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

    ignored = {f"{ID}/{ID}_roi/*": "region of one colour class"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem.removesuffix("_lesion"): f for f in tree.glob(mask_pattern)}
        names = "{0}/{0}_Dermoscopic_Image/{0}.bmp".format, "{0}/{0}_lesion/{0}_lesion.bmp".format
        for pair in pairs(images, masks, *names):
            yield pair if isinstance(pair, Reject) else Case(pair.key, pair.files, pair.key)
        known = images | {f"{key}_lesion": mask for key, mask in masks.items()}
        for copy in tree.glob(f"{ID}/*/*.jpg"):
            if copy.stem in known:
                yield Skip(copy.name, "JPEG copy of a picture")

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "lesion", raster.read_binary)
