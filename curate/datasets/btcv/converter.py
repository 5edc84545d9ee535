"""BTCV: thirteen organs in abdominal CT (Beyond the Cranial Vault, Synapse syn3193805).

Landman et al., MICCAI 2015 challenge. Axial slices from feet to head, columns from the patient's right to left, by the
header of the image; a label file counts on its image's grid, as some have no usable header of their own. Copies with
eight renumbered organs are refused, and so is a volume with the liver on the left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from medshards.curate.formats.files import blame
from medshards.curate.formats.jsonfile import read_object
from medshards.curate.formats.pictures import raster
from medshards.curate.formats.volumes import nifti
from medshards.curate.quantise import to_slices
from medshards.curate.sample import Image, Reject, Sample, SlicePosition
from medshards.curate.slices import NOTHING, choose
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree
from medshards.curate.volumes import Grid, Volume, as_axial

NUMBER = re.compile(
    r"(?:img|label|ABD_)(\d{3,4})(?:_0000)?\.nii(?:\.gz)?"
)  # nnU-Net adds the channel 0000 to images
SPLITS = {"training": "train", "validation": "val"}  # of MONAI's dataset_0.json
SPLEEN, LIVER, RENUMBERED = 1, 6, 8


class Converter(Source):
    """One case a scan, one sample an axial slice; group = case number, which is the patient; MONAI's split if there."""

    slug = "btcv"
    layouts = (
        Layout("Synapse RawData", ("Training/img/img[0-9]*.nii*", "Training/label/label[0-9]*.nii*")),
        Layout("MONAI", ("imagesTr/img[0-9]*.nii*", "labelsTr/label[0-9]*.nii*")),
        Layout("nnU-Net", ("imagesTr/ABD_[0-9]*.nii*", "labelsTr/ABD_[0-9]*.nii*")),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images, labels = (by_number(tree.glob(pattern)) for pattern in tree.layout.needs)
        splits = read_splits(tree.get("dataset_0.json"))
        for number in sorted(images.keys() | labels.keys()):
            if number not in labels:
                yield Reject("missing_mask", f"no label of case {number}", images[number].name)
            elif number not in images:
                yield Reject("missing_image", f"no image of case {number}", labels[number].name)
            else:
                key = f"case-{number:04d}"
                files = {"image": images[number], "mask": labels[number]}
                yield Case(key, files, key, splits.get(number))
        for pattern in ("Testing/img/*.nii*", "imagesTs/*.nii*"):
            for image in tree.glob(pattern):
                yield Skip(image.name, "official test scan without public labels")

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        file = case.files["mask"]
        image, labels, stored = read_pair(case.files["image"], file)
        chosen = choose(self.slices, np.count_nonzero(labels, axis=(1, 2)).tolist())
        if not chosen:
            yield Skip(file.name, NOTHING)
            return
        slices = to_slices(image)
        for index in chosen:
            organs = raster.split_values(labels[index], self.labels.by_value(), file)
            yield Sample(
                f"{case.key}-{index:04d}",
                Image(slices.stored[index]),
                self.instances(organs, file),
                case.group,
                case.split,
                spacing=image.spacing_mm[1:],
                position=SlicePosition(case.key, index, len(labels)),
                intensity=slices.intensity(index),
                extra={"modality": "CT", "grid": image.grid.facts(), "original_grid": stored.facts()},
            )


def by_number(files: list[File]) -> dict[int, File]:
    """Files by the case number in their names; others are left out."""
    found = {}
    for file in files:
        if match := NUMBER.fullmatch(file.name.rpartition("/")[2]):
            found[int(match[1])] = file
    return found


def read_splits(table: File | None) -> dict[int, str]:
    """Split of each case number that MONAI's list names."""
    if table is None:
        return {}
    content = read_object(table)
    try:
        names = {split: [str(entry["image"]) for entry in content[part]] for part, split in SPLITS.items()}
        return {int(NUMBER.search(n)[1]): split for split, images in names.items() for n in images}  # type: ignore[index]
    except (KeyError, TypeError) as error:
        message = f"is no list of training and validation images: {type(error).__name__} {error}"
        raise Reject("unreadable", message, table.name) from error


def read_pair(file: File, mask: File) -> tuple[Volume, np.ndarray, Grid]:
    """The CT in HU and its labels (D×H×W), axial, and the grid on which they are stored.

    Raises Reject (`no_orientation`, `size_mismatch`, `renumbered`, `left_right`, and those of NIfTI).
    """
    image = nifti.read_image(file, "CT", "hu")
    if "no_orientation" in image.flags:
        raise Reject("no_orientation", "its header does not say where left and right are", file.name)
    stored = nifti.read_labels(mask, oriented=False)
    with blame(mask):
        if stored.array.shape != image.array.shape:
            message = f"the labels are {stored.array.shape}, their image {image.array.shape}"
            raise Reject("size_mismatch", message)
        if 0 < stored.array.max() <= RENUMBERED:
            message = f"has no value above {RENUMBERED}: a copy with eight organs in another order? Take the original"
            raise Reject("renumbered", message)
        labels = as_axial(replace(stored, affine=image.affine)).array
        if column(labels, LIVER) > column(labels, SPLEEN):
            raise Reject(
                "left_right", "by the image's header the liver lies on the left, the spleen on the right"
            )
    return as_axial(image), labels, image.grid


def column(labels: np.ndarray, value: int) -> float:
    """Mean column of the voxels of a value; NaN, which compares false, when there are none."""
    counts = np.count_nonzero(labels == value, axis=(0, 1))
    return float(np.average(np.arange(counts.size), weights=counts)) if counts.any() else float("nan")
