"""RAVIR: retinal arteries and veins in infrared reflectance images.

Hatamizadeh et al., IEEE JBHI 26(7), 2022. Mask values: 128 artery, 255 vein. The test images have no public masks.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = "IR_Case_[0-9][0-9][0-9].png"


class Converter(Source):
    """One case an image; artery and vein are a mask each; group = case number."""

    slug = "ravir"
    layouts = (Layout("official zip", (f"train/training_images/{NAME}", f"train/training_masks/{NAME}")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem: f for f in tree.glob(mask_pattern)}
        for pair in pairs(images, masks, "train/training_images/*.png", "train/training_masks/*.png"):
            if isinstance(pair, Reject):
                yield pair
            else:
                yield Case(pair.key, pair.files, pair.key.removeprefix("IR_Case_"), "train")
        for image in tree.glob(f"test/{NAME}"):
            yield Skip(image.name, "official test image without public mask")

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image = raster.read_image(case.files["image"])
        values = raster.read_grey(file)
        raster.require_size(values, image, file)
        vessels = self.instances(raster.split_values(values, self.labels.by_value(), file), file)
        yield Sample(case.key, image, vessels, case.group, case.split)
