"""BCSS: regions of breast cancer slides in H&E with 20 kinds of tissue.

Amgad et al., Bioinformatics 35(18), 2019. The pixels of a mask are class codes; 0 lies outside the annotated region.
The outermost ring of pixels of an unrotated mask is stroma whatever lies inside: an artefact that would join pieces
of stroma, so it is left out and counted. Kaggle's tiles are another set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, read_both
from medshards.curate.sample import Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = re.compile(
    r"(?P<region>(?P<patient>TCGA-(?P<site>\w\w)-\w{4})-DX\w+_xmin\d+_ymin\d+)_(?:MPP-(?P<mpp>[\d.]+)|MAG-[\d.]+)"
)
FILE = "TCGA-*_xmin*_ymin*_M*.png"
IMAGES = ("rgbs_colorNormalized", "images")  # colour-normalised by the authors, or as scanned
TEST_SITES = {"OL", "LL", "E2", "EW", "GM", "S3"}  # of the authors' baseline
STROMA, OUTSIDE = 2, 0


class Converter(Source):
    """One case a region; group = patient (first 12 characters); official split of the authors' baseline by site."""

    slug = "breast_cancer_seg"
    layouts = (
        Layout("Google Drive release", (f"{IMAGES[0]}/{FILE}", f"masks/{FILE}")),
        Layout("the authors' download script", (f"{IMAGES[1]}/{FILE}", f"masks/{FILE}")),
    )

    ignored = {
        f"{IMAGES[1]}/{FILE}": "region as scanned, beside the colour-normalised one",
        "wsis/**/*": "whole slide",
    }

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        folder = IMAGES[self.layouts.index(tree.layout)]
        images = {f.stem: f for f in tree.glob(f"{folder}/{FILE}")}
        masks = {f.stem: f for f in tree.glob(f"masks/{FILE}")}
        for pair in pairs(images, masks, f"{folder}/{{}}.png".format, "masks/{}.png".format):
            if isinstance(pair, Reject):
                yield pair
            elif (name := NAME.fullmatch(pair.key)) is None:
                message = "its name is not <slide>_xmin<x>_ymin<y>_MPP-<size>: a tile of another release?"
                yield from (Reject("not_native", message, f.name) for f in pair.files.values())
            else:
                split = "test" if name["site"] in TEST_SITES else "train"
                mm = float(name["mpp"] or 0) / 1000
                facts = {"spacing": [mm, mm]} if mm else {}
                yield Case(make_key(name["region"]), pair.files, name["patient"], split, facts)

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image, pixels = read_both(case, raster.read_grey)
        codes, frame = without_frame(pixels)
        tissues = self.instances(raster.split_values(codes, self.labels.by_value(), file), file)
        yield Sample(
            case.key,
            image,
            tissues,
            case.group,
            case.split,
            spacing=tuple(case.facts["spacing"]) if "spacing" in case.facts else None,
            lost={"px of the frame of stroma": frame} if frame else {},
        )


def without_frame(codes: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The class codes (H×W) with the stroma of the outermost ring set to 0, and the number of px so changed.

    Only where nine tenths of the ring are stroma: in a rotated region the ring lies outside.
    """
    ring = np.ones(codes.shape, bool)
    ring[1:-1, 1:-1] = False
    stroma = ring & (codes == STROMA)
    count = int(np.count_nonzero(stroma))
    if count < 0.9 * np.count_nonzero(ring):
        return codes, 0
    return np.where(stroma, codes.dtype.type(OUTSIDE), codes), count
