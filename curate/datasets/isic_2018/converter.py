"""ISIC 2018 Task 1: skin lesions in dermoscopic images.

Codella et al., arXiv 1902.03368. Six zips, an input and a ground truth folder for each split; files are matched by
their ISIC id. The folders of Task 2 (attributes) and Task 3 have other names and are not read.
"""

from __future__ import annotations

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths

NAME = "{name:ISIC_[0-9][0-9][0-9][0-9][0-9][0-9][0-9]}"


class Converter(Pictures):
    """One case an image; official split from its folder; group = ISIC id (no patient key in the challenge files)."""

    slug = "isic_2018"
    layouts = (
        paths(
            "challenge archives",
            "ISIC2018_Task1-2_{split:Training,Validation,Test}_Input/**/" + NAME + ".jpg",
            "ISIC2018_Task1_{split}_GroundTruth/**/{name}_segmentation.png",
        ),
    )
    ignored = {
        "**/ISIC2018_Task2_*/**/*": "Task 2, attributes of lesions",
        "**/ISIC2018_Task3_*/**/*": "Task 3, diagnoses",
    }
    key = "{name}"
    split = "{split}"
    splits = {"Training": "train", "Validation": "val", "Test": "test"}
    masks = one("lesion", raster.read_binary)
