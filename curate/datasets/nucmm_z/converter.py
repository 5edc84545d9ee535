"""NucMM: neuronal nuclei in blocks of a zebrafish brain (electron microscopy) and of mouse cortex (micro-CT).

Lin et al., MICCAI 2021. Blocks `img_<z>_<y>_<x>.h5` with `seg_<z>_<y>_<x>.h5`, HDF5 key `main`, axes z, y, x; the
numbers are a block's origin in the whole volume. Whole volumes (image.tif, image.h5, mask.h5) lie beside them and
are not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.volumes import hdf5
from medshards.curate.pairs import pairs
from medshards.curate.sample import Reject, Sample
from medshards.curate.slices import samples_by_id
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

BLOCK = "[0-9]*_[0-9]*_[0-9]*.h5"


class Converter(Source):
    """One case a block, one sample a slice along z; group = block; official split train or val."""

    slug = "nucmm_z"
    layouts = (
        Layout(
            "Zebrafish (NucMM-Z) or Mouse (NucMM-M)", (f"Image/train/img_{BLOCK}", f"Label/train/seg_{BLOCK}")
        ),
        Layout("validation blocks alone", (f"Image/val/img_{BLOCK}", f"Label/val/seg_{BLOCK}")),
    )

    ignored = {"{image,mask}.{tif,h5}": "whole volume, which the blocks are cut from"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for split in ("train", "val"):
            images = {f.stem.partition("_")[2]: f for f in tree.glob(f"Image/{split}/img_{BLOCK}")}
            labels = {f.stem.partition("_")[2]: f for f in tree.glob(f"Label/{split}/seg_{BLOCK}")}
            names = f"Image/{split}/img_{{}}.h5".format, f"Label/{split}/seg_{{}}.h5".format
            for pair in pairs(images, labels, *names):
                yield pair if isinstance(pair, Reject) else Case(pair.key, pair.files, pair.key, split)

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        with (
            hdf5.open_stack(case.files["image"], "main") as image,
            hdf5.open_stack(case.files["mask"], "main") as labels,
        ):
            yield from samples_by_id(self, case, image, labels, "nucleus")
