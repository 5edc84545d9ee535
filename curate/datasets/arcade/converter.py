"""ARCADE: stenoses in X-ray angiograms of the coronary arteries.

Popov et al., Scientific Data 11, 2024. One COCO file a split. Image ids are no file names (in val and test they follow
the string order of the names), and annotation ids repeat in train. The organisers fill polygons after truncating the
corners to whole pixels. The syntax task (other frames, vessel segments) is passed over: Table 1 has the stenosis task.
An image without region may be one that nobody labelled (train 218 shows the same frame as val 58, which has one), so
nothing is known to be absent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import coco, polygons
from medshards.curate.sample import Region, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.standard.coco import coco_sample
from medshards.curate.tree import Layout, Tree

SETS = {  # annotation file of each split: Zenodo 10390295, and before the names that Zenodo 8386059 uses
    "train": ("**/sten_train/annotations/sten_train.json", "stenosis/train/annotations/train.json"),
    "val": ("**/sten_val/annotations/sten_val.json", "stenosis/val/annotations/val.json"),
    "test": (
        "**/test_cases_stenosis/annotations/instances_default.json",
        "stenosis/test/annotations/test.json",
    ),
}
SYNTAX = ("syntax/*", "**/seg_*", "**/test_case_segmentation")


class Converter(Source):
    """One case an image, keyed by task, split and name; group = image (no patient or study key is published)."""

    slug = "arcade"
    layouts = (
        Layout("arcade.zip (Zenodo 10390295)", ("stenosis/[tv]*/annotations/[tv]*.json",)),
        Layout("arcade_challenge_datasets.zip (Zenodo 8386059)", ("**/sten_*/annotations/sten_*.json",)),
    )

    ignored = {f"{folder}/images/*.png": "frame of the syntax task" for folder in SYNTAX}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for folder in SYNTAX:
            for file in tree.glob(f"{folder}/annotations/*.json"):
                yield Skip(file.name, "syntax task, no part of this dataset")
        for split, patterns in SETS.items():
            for table in [file for pattern in patterns for file in tree.glob(pattern)]:
                folder = table.name.removeprefix(tree.base).rsplit("/", 2)[0]
                images = {f.name.rpartition("/")[2]: f for f in tree.glob(f"{folder}/images/*.png")}
                content = coco.read_coco(table)
                listed = content.images
                yield from (Reject("bad_annotations", stray, table.name) for stray in content.strays)
                for name in sorted(listed.keys() | images.keys()):
                    if name not in images:
                        message = f"{table.name} lists it, and it is not there"
                        yield Reject("missing_image", message, f"{tree.base}{folder}/images/{name}")
                    elif name not in listed:
                        yield Reject("missing_mask", f"{table.name} does not list it", images[name].name)
                    else:
                        key = f"stenosis-{split}-{images[name].stem}"
                        yield Case(key, {"image": images[name], "annotations": table}, key, split)

    def load(self, case: Case) -> Iterator[Sample]:
        yield coco_sample(self, case, case.files["image"].path.name, fill_truncated)


def fill_truncated(points: NDArray[np.float64], size: tuple[int, int]) -> Region:
    """The pixels with their index inside or on the polygon whose corners are truncated to whole px."""
    return polygons.fill(np.trunc(points), size, centre=0)
