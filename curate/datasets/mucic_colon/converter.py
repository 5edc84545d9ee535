"""MUCIC Colon Tissue: simulated 3D fluorescence microscopy of cell nuclei in colon tissue.

Svoboda, Homola, Stejskal, ICIAR 2011. Volumes `image-final_NNNN` and `image-labels_NNNN`, in the same names for both
noise levels: the folder (or zip) tells them apart. Nuclei that touch may share a value; the build makes components.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from medshards.curate.formats.volumes.stacks import open_stack
from medshards.curate.pairs import pairs
from medshards.curate.sample import Reject, Sample
from medshards.curate.slices import samples_by_id
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = re.compile(r".*ColonTissue_(?P<noise>Low|High)Noise[^/]*/(?:.*/)?image-final_(?P<number>\d{4})\.\w+")
FOLDER = "*ColonTissue_*Noise*/**/"


class Converter(Source):
    """One case a volume, one sample a slice; group = volume number (both noise levels show the same phantom)."""

    slug = "mucic_colon"
    layouts = (
        Layout("HDF5 zips, one folder each", (FOLDER + "image-final_[0-9][0-9][0-9][0-9].h*5",)),
        Layout("TIFF zips, one folder each", (FOLDER + "image-final_[0-9][0-9][0-9][0-9].tif",)),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {f.name: f for f in tree.glob(f"{FOLDER}image-final_*.*")}
        labels = {
            f.name.replace("image-labels_", "image-final_"): f for f in tree.glob(f"{FOLDER}image-labels_*.*")
        }
        halves = "image-final of that number beside it".format, "image-labels of that number beside it".format
        for pair in pairs(images, labels, *halves):
            if isinstance(pair, Reject):
                yield pair
            elif (match := NAME.fullmatch(pair.key)) is None:
                message = "its path is not ColonTissue_<Low|High>Noise…/image-<NNNN>"
                yield Reject("not_native", message, pair.image.name, (pair.mask.name,))
            else:
                yield Case(f"{match['noise'].lower()}-{match['number']}", pair.files, match["number"])

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        with (
            open_stack(case.files["image"], "Image") as image,
            open_stack(case.files["mask"], "Image") as labels,
        ):
            yield from samples_by_id(self, case, image, labels, "nucleus")
