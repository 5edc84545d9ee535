"""m2caiSeg: organs, instruments and fluids in frames of laparoscopic operations.

Maqbool et al., arXiv 2008.10134. Masks are coloured by the authors' list; their borders hold mixed colours besides,
which mean nothing and are counted as lost. The folder trainval holds the pictures of train and test once more, three
of them under other names, so it is read only where one of these two is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, read_both
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

FOLDERS = ("train", "test", "trainval")
IMAGE, MASK = "{}/images/[0-9]*.jpg", "{}/groundtruth/[0-9]*_gt.png"
MIXED = "mixed colours of borders"
STEPS = (0, 85, 170, 255)  # of each channel, in class colours and in mixed ones
MIXTURES = {(r, g, b): MIXED for r in STEPS for g in STEPS for b in STEPS}


class Converter(Source):
    """One case a frame; group = image (the names tell no video; the build joins near-duplicates)."""

    slug = "m2caiseg"
    layouts = tuple(
        Layout(f"folder {folder} (Kaggle)", (IMAGE.format(folder), MASK.format(folder))) for folder in FOLDERS
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        present = [folder for folder in FOLDERS if tree.glob(IMAGE.format(folder))]
        read = ["train", "test"]
        if not set(read) <= set(present):
            read = ["trainval"] if "trainval" in present else present
        for folder in read:
            images = {f.stem: f for f in tree.glob(IMAGE.format(folder))}
            masks = {f.stem.removesuffix("_gt"): f for f in tree.glob(MASK.format(folder))}
            names = f"{folder}/images/{{}}.jpg".format, f"{folder}/groundtruth/{{}}_gt.png".format
            for pair in pairs(images, masks, *names):
                if isinstance(pair, Reject):
                    yield pair
                else:
                    key = f"{folder}-{pair.key}"
                    yield Case(key, pair.files, key, None if folder == "trainval" else folder)
        for folder in (f for f in present if f not in read):
            for image in tree.glob(IMAGE.format(folder)):
                mask = MASK.format(folder).replace("[0-9]*", image.stem)
                unread = tuple(file.name for file in tree.glob(mask))
                yield Skip(image.name, "the same picture again, in trainval or in train and test", unread)

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image, colors = read_both(case, raster.read_color)
        masks = raster.split_colors(colors, MIXTURES | self.labels.by_color(), file)
        mixed = masks.pop(MIXED, None)
        lost = {} if mixed is None else {f"pixels in {MIXED}": int(mixed.sum())}
        yield Sample(case.key, image, self.instances(masks, file), case.group, case.split, lost=lost)
