"""STARE: retinal vessels in colour fundus slides, the 20 images with vessel labels.

Hoover, Kouznetsova, Goldbaum, IEEE TMI 19(3), 2000. The vessel tree is the label of Adam Hoover (`.ah.`); that of
Valentina Kouznetsova (`.vk.`) is not read. Labels are one-channel PGM data under the name .ppm. Every picture of
the archive is 700 x 605 px: others, such as the .ppm.png of a Kaggle pack, are resized copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs
from medshards.curate.sample import Instance, Region, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

SIZE = (605, 700)
LABELLED = {
    *("im0001", "im0002", "im0003", "im0004", "im0005", "im0044", "im0077", "im0081", "im0082", "im0139"),
    *("im0162", "im0163", "im0235", "im0236", "im0239", "im0240", "im0255", "im0291", "im0319", "im0324"),
}
IMAGE = "im[0-9][0-9][0-9][0-9].ppm*"  # each may be gzipped, as in the tars
MASK = "im[0-9][0-9][0-9][0-9].ah.ppm*"


class Converter(Source):
    """One case an image; group = image (patients are not published)."""

    slug = "stare"
    layouts = (
        Layout("official tars", (f"stare-images/{IMAGE}", f"labels-ah/{MASK}")),
        Layout("Kaggle pack", (f"images/{IMAGE}", f"masks/{MASK}")),
        Layout("one flat folder", (IMAGE, MASK)),
    )

    ignored = {
        "**/im[0-9]*.vk.ppm*": "vessels of the second observer",
        "{images,masks}/im[0-9]*.ppm.png": "copy of 512 x 512 px",
    }

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images, masks = _by_id(tree.glob(image_pattern)), _by_id(tree.glob(mask_pattern))
        for key in sorted(images.keys() - masks.keys() - LABELLED):
            yield Skip(images.pop(key).name, "not among the 20 images with vessel labels")
        names = (
            "{0}.ppm or {0}.ppm.gz belongs to it".format,
            "{0}.ah.ppm or {0}.ah.ppm.gz belongs to it".format,
        )
        for pair in pairs(images, masks, *names):
            yield pair if isinstance(pair, Reject) else Case(pair.key, pair.files, pair.key)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        if image.size != SIZE:
            found = f"is {image.size[1]} x {image.size[0]} px; the originals are 700 x 605 px: a resized copy"
            raise Reject("not_native", found, case.files["image"].name)
        mask = raster.read_binary(case.files["mask"])
        raster.require_size(mask, image, case.files["mask"])
        vessel = Instance(self.concept("vessel", case.files["mask"]), Region.of(mask), "vessel")
        yield Sample(case.key, image, [vessel], case.group)


def _by_id(files: list[File]) -> dict[str, File]:
    """Files by the id that their names begin with; of im0001.ppm and im0001.ppm.gz, one picture, the gzipped one."""
    return {PurePosixPath(f.name).name[:6]: f for f in files if f.suffix in (".ppm", ".gz")}
