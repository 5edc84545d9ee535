"""DRIVE: retinal vessels in colour fundus photographs.

Staal et al., IEEE TMI 23(4), 2004. The manual vessel tree is `1st_manual/`; `mask/` is the field of view and
`2nd_manual/` a second observer, neither is read. The old distribution has manuals for the test images too.
Training images are numbered 21 to 40 and test images 01 to 20: copies with other numbers are augmented ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NUMBERS = {"training": range(21, 41), "test": range(1, 21)}
LAYOUT = "{split}/images/[0-9][0-9]_{split}.tif"


class Converter(Source):
    """One case an image; official split from the file's name; group = image number (patients are not published)."""

    slug = "drive"
    layouts = (
        Layout("training folder (Grand Challenge, Kaggle)", (LAYOUT.format(split="training"),)),
        Layout("test folder", (LAYOUT.format(split="test"),)),
    )

    ignored = {
        "{training,test}/mask/*": "mask of the field of view",
        "{training,test}/2nd_manual/*": "vessels of the second observer",
    }

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for split, numbers in NUMBERS.items():
            native = {f"{n:02d}" for n in numbers}
            images = {f.stem[:2]: f for f in tree.glob(LAYOUT.format(split=split))}
            masks = {f.stem[:2]: f for f in tree.glob(f"{split}/1st_manual/[0-9][0-9]_manual1.gif")}
            foreign = sorted((images.keys() | masks.keys()) - native)
            if foreign:
                file = (images | masks)[foreign[0]]
                message = f"the {split} images are {numbers[0]:02d} to {numbers[-1]}; this folder is a renumbered copy"
                everything = tuple(file.name for half in (images, masks) for file in half.values())
                yield Reject("not_native", message, file.name, everything)
                continue
            for number in sorted(images.keys() | masks.keys()):
                if number not in images:
                    yield Reject(
                        "missing_image", f"no {split}/images/{number}_{split}.tif", masks[number].name
                    )
                elif number in masks:
                    files = {"image": images[number], "mask": masks[number]}
                    yield Case(images[number].stem, files, number, split)
                elif split == "test":
                    yield Skip(images[number].name, "official test image without public mask")
                else:
                    yield Reject(
                        "missing_mask", f"no {split}/1st_manual/{number}_manual1.gif", images[number].name
                    )

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "vessel", raster.read_binary)
