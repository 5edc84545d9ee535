"""DRIVE: retinal vessels in colour fundus photographs.

Staal et al., IEEE TMI 23(4), 2004. The manual vessel tree is `1st_manual/`; `mask/` is the field of view and
`2nd_manual/` a second observer, neither is read. The old distribution has manuals for the test images too.
"""

from __future__ import annotations

from collections.abc import Iterator

from curate.formats import raster
from curate.sample import Instance, Region, Reject, Sample
from curate.source import Case, Skip, Source
from curate.tree import Layout, Tree

IMAGES = {"training": "images/[0-9][0-9]_training.tif", "test": "images/[0-9][0-9]_test.tif"}


class Converter(Source):
    """One case an image; official split from the file's name; group = image number (patients are not published)."""

    slug = "drive"
    layouts = (
        Layout("training folder (Grand Challenge, Kaggle)", (IMAGES["training"],)),
        Layout("test folder", (IMAGES["test"],)),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for split, pattern in IMAGES.items():
            for image in tree.glob(pattern):
                number = image.stem[:2]
                manual = tree.get(f"1st_manual/{number}_manual1.gif")
                if manual is not None:
                    yield Case(image.stem, {"image": image, "mask": manual}, number, split)
                elif split == "test":
                    yield Skip(image.name, "official test image without a public manual")
                else:
                    yield Reject("missing_mask", f"no 1st_manual/{number}_manual1.gif beside it", image.name)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        mask = raster.read_binary(case.files["mask"])
        raster.require_size(mask, image, case.files["mask"])
        vessel = Instance(self.concept("vessel", case.files["mask"]), Region.of(mask), "vessel")
        yield Sample(case.key, image, [vessel], case.group, case.split)
