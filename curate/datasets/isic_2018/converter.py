"""ISIC 2018 Task 1: skin lesions in dermoscopic images.

Codella et al., arXiv 1902.03368. Six zips, an input and a ground truth folder for each split; files are matched by
their ISIC id. The folders of Task 2 (attributes) and Task 3 have other names and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = "ISIC_[0-9][0-9][0-9][0-9][0-9][0-9][0-9]"
IMAGES = f"ISIC2018_Task1-2_{{split}}_Input/**/{NAME}.jpg"
MASKS = f"ISIC2018_Task1_{{split}}_GroundTruth/**/{NAME}_segmentation.png"
SPLITS = {"Training": "train", "Validation": "val", "Test": "test"}


class Converter(Source):
    """One case an image; official split from its folder; group = ISIC id (no patient key in the challenge files)."""

    slug = "isic_2018"
    layouts = (Layout("challenge archives", (IMAGES.format(split="[TV]*"), MASKS.format(split="[TV]*"))),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for name, split in SPLITS.items():
            images = {f.stem: f for f in tree.glob(IMAGES.format(split=name))}
            masks = {f.stem.removesuffix("_segmentation"): f for f in tree.glob(MASKS.format(split=name))}
            image_name = f"*.jpg in ISIC2018_Task1-2_{name}_Input"
            mask_name = f"*_segmentation.png in ISIC2018_Task1_{name}_GroundTruth"
            for pair in pairs(images, masks, image_name, mask_name):
                yield pair if isinstance(pair, Reject) else Case(pair.key, pair.files, pair.key, split)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "lesion", raster.read_binary)
