"""PolypGen (MultiCenterData v3): polyps in colonoscopy, single frames and sequences of six hospitals.

Ali et al., Scientific Data 10, 2023. Masks are JPEGs, white above 127; many masks of single frames and of positive
sequences are empty, the polyp being out of view. Frames of negative sequences have no masks and show no polyp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

SINGLE = "data_C[1-6]/{kind}_C[1-6]/*.jpg"
POSITIVE = "sequenceData/**/seq*[0-9]/{kind}_seq*[0-9]/*.jpg"  # below positive/, in some copies directly
NEGATIVE = "sequenceData/negativeOnly/**/*.jpg"
VIDEO = re.compile(r"(\d+)_endocv2021|(\d+OLCV\d+)_")  # number of a video in names of centres 4 and 1


class Converter(Source):
    """One case a frame; split single, positive or negative; group = video by its name, else sequence or centre."""

    slug = "polypgen"
    layouts = (
        Layout("PolypGen2021_MultiCenterData_v3 (Synapse, Kaggle)", (SINGLE.format(kind="images"),)),
        Layout("its sequences alone", (POSITIVE.format(kind="images"),)),
    )

    ignored = {"**/bbox_image_*/*": "frame with boxes drawn in"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for split, pattern in (("single", SINGLE), ("positive", POSITIVE)):
            images = {_place(f): f for f in tree.glob(pattern.format(kind="images"))}
            masks = {_place(f): f for f in tree.glob(pattern.format(kind="masks"))}
            names = "images_{0[0]}/{0[1]}.jpg".format, "masks_{0[0]}/{0[1]}_mask.jpg".format
            for pair in pairs(images, masks, *names):
                if isinstance(pair, Reject):
                    yield pair
                else:
                    yield Case(make_key("-".join(pair.key)), pair.files, _group(*pair.key), split)
        for image in tree.glob(NEGATIVE):
            folder = re.sub(r".*sequenceData/negativeOnly/([^/]+)/.*", r"\1", image.name)
            key = make_key(f"{folder}-{image.stem}")
            yield Case(key, {"image": image}, _group(folder, image.stem), "negative")

    def load(self, case: Case) -> Iterator[Sample]:
        if "mask" in case.files:
            yield sample_of_mask(self, case, "polyp", raster.read_threshold)
        else:
            yield Sample(case.key, raster.read_image(case.files["image"]), [], case.group, case.split)


def _place(file: File) -> tuple[str, str]:
    """("C1", "100H0050") of images_C1/100H0050.jpg and of masks_C1/100H0050_mask.jpg."""
    folder = file.name.split("/")[-2].partition("_")[2]
    return folder, file.stem.removesuffix("_mask")


def _group(folder: str, stem: str) -> str:
    """Video, where the name tells it; sequence or centre otherwise. A video's frames stand in several folders."""
    match = VIDEO.search(stem)
    if match is None:
        return folder
    return f"C4-{match[1]}" if match[1] else f"C1-{match[2]}"
