"""MUCIC Colon Tissue: simulated 3D fluorescence microscopy of cell nuclei in colon tissue.

Svoboda, Homola, Stejskal, ICIAR 2011. Volumes `image-final_NNNN` and `image-labels_NNNN`, in the same names for both
noise levels: the folder (or zip) tells them apart. Nuclei that touch may share a value; the build makes components.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager

from medshards.curate.formats.volumes import hdf5, tiffstack
from medshards.curate.formats.volumes.container import Stack
from medshards.curate.sample import Reject, Sample
from medshards.curate.slices import samples_by_id
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

NAME = re.compile(
    r".*ColonTissue_(?P<noise>Low|High)Noise[^/]*/(?:.*/)?image-(?:final|labels)_(?P<number>\d{4})\.\w+"
)
FOLDER = "*ColonTissue_*Noise*/**/"


class Converter(Source):
    """One case a volume, one sample a slice; group = volume number (both noise levels show the same phantom)."""

    slug = "mucic_colon"
    layouts = (
        Layout("HDF5 zips, one folder each", (FOLDER + "image-final_[0-9][0-9][0-9][0-9].h*5",)),
        Layout("TIFF zips, one folder each", (FOLDER + "image-final_[0-9][0-9][0-9][0-9].tif",)),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        files = {f.name: f for kind in ("final", "labels") for f in tree.glob(f"{FOLDER}image-{kind}_*.*")}
        for name, file in files.items():
            match = NAME.fullmatch(name)
            if match is None:
                yield Reject("not_native", "its path is not ColonTissue_<Low|High>Noise…/image-<NNNN>", name)
            elif "image-labels_" in name:
                if name.replace("image-labels_", "image-final_") not in files:
                    yield Reject("missing_image", "no image-final of that number beside it", name)
            else:
                labels = files.get(name.replace("image-final_", "image-labels_"))
                if labels is None:
                    yield Reject("missing_mask", "no image-labels of that number beside it", name)
                else:
                    key = f"{match['noise'].lower()}-{match['number']}"
                    yield Case(key, {"image": file, "mask": labels}, match["number"])

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        with open_stack(case.files["image"]) as image, open_stack(case.files["mask"]) as labels:
            yield from samples_by_id(self, case, image, labels, "nucleus")


def open_stack(file: File) -> AbstractContextManager[Stack]:
    """The volume of an HDF5 or a TIFF file."""
    return tiffstack.open_stack(file) if file.suffix == ".tif" else hdf5.open_stack(file, "Image")
