"""SegThy: thyroid and neck vessels in MRI and in tracked 3D ultrasound of volunteers.

Krönke et al., PLoS ONE 2022. Slices lie across the last axis. MRI slices that are axial are turned upright by the
header; ultrasound stays as stored. Where an MRI has a label file of thyroid and vessels and one of the thyroid alone,
the first is read. A needless fourth axis of a label file (case 005) is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from medshards.curate.formats.numbers import as_bytes
from medshards.curate.formats.pictures import raster
from medshards.curate.formats.volumes import nifti
from medshards.curate.quantise import to_slices
from medshards.curate.sample import Image, Reject, Sample, SlicePosition, make_key
from medshards.curate.slices import NOTHING, choose
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree
from medshards.curate.volumes import Volume, as_axial

VOLUNTEER = re.compile(r"(\d{3})(?!\d)")
MRI, THYROID, VESSELS = "MRI", "MRI_thyroid_label", "MRI_thyroid+jugular+carotid_label"
US, US_THYROID = "ground_truth_data/US", "ground_truth_data/US_thyroid_label"
NII = ".nii*"


class Converter(Source):
    """One case a volume, one sample a slice; group = volunteer (first three digits; MRI and ultrasound together)."""

    slug = "segthy"
    layouts = (
        Layout("MRI_volunteer_dataset", (f"{MRI}/[0-9]*_MRI{NII}", f"{THYROID}/[0-9]*_{THYROID}{NII}")),
        Layout("US_volunteer_dataset", (f"{US}/[0-9]*_US{NII}", f"{US_THYROID}/[0-9]*{NII}")),
    )
    ignored = {
        f"{THYROID}/*": "thyroid alone, where there is a file with the vessels too",
        "**/US_volunteer_dataset/[^Gg]*/**/*": "sweep without labels",  # all but ground_truth_data
    }

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        if tree.layout is self.layouts[0]:
            kind, images = "mri", by_stem(tree, MRI, "_MRI")
            labels = by_stem(tree, THYROID, f"_{THYROID}") | by_stem(tree, VESSELS, f"_{VESSELS}")
        else:
            kind, images, labels = "us", by_stem(tree, US, "_US"), by_stem(tree, US_THYROID, "")
        for stem in sorted(images.keys() | labels.keys()):
            volunteer = VOLUNTEER.match(stem)
            if stem not in images:
                yield Reject("missing_image", f"no image of {stem}", labels[stem].name)
            elif stem not in labels:
                yield Skip(images[stem].name, "volume without label file")
            elif volunteer is None:
                message = "its name does not begin with a volunteer's three digits"
                yield from (Reject("not_native", message, f.name) for f in (images[stem], labels[stem]))
            else:
                facts = {"vessels": VESSELS in labels[stem].name}
                files = {"image": images[stem], "mask": labels[stem]}
                yield Case(make_key(f"{kind}-{stem}"), files, f"volunteer-{volunteer[1]}", facts=facts)

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        file = case.files["mask"]
        image, labels = read_pair(case.files["image"], file, "MR" if case.key.startswith("mri") else "US")
        chosen = choose(self.slices, np.count_nonzero(labels.array, axis=(1, 2)).tolist())
        if not chosen:
            yield Skip(file.name, NOTHING)
            return
        grey = image.modality == "US" and image.array.min() >= 0 and image.array.max() <= 255
        slices = None if grey else to_slices(image)
        stored = slices.stored if slices else as_bytes(image.array, case.files["image"])
        for index in chosen:
            values = raster.split_values(labels.array[index], self.labels.by_value(), file)
            yield Sample(
                f"{case.key}-{index:04d}",
                Image(stored[index]),
                self.instances(values, file),
                case.group,
                spacing=image.spacing_mm[1:],
                position=SlicePosition(case.key, index, len(labels.array)),
                concepts=self.labels.concepts if case.facts["vessels"] else (self.concept("thyroid", file),),
                intensity=slices.intensity(index) if slices else None,
            )


def by_stem(tree: Tree, folder: str, suffix: str) -> dict[str, File]:
    """The volumes of a folder by their names without `suffix`; other files of it are left out."""
    names = {f.name.rpartition("/")[2].partition(".nii")[0]: f for f in tree.glob(f"{folder}/*{NII}")}
    return {name.removesuffix(suffix): f for name, f in names.items() if name.endswith(suffix)}


def read_pair(file: File, mask: File, modality: str) -> tuple[Volume, Volume]:
    """A volume and its labels on one grid, that of the image. Raises Reject (`size_mismatch` and those of NIfTI)."""
    image = nifti.read_image(file, modality, "arbitrary")
    labels = nifti.read_labels(mask, first=True, oriented=False)
    if labels.array.shape != image.array.shape:
        message = f"the labels are {labels.array.shape}, their image {image.array.shape}"
        raise Reject("size_mismatch", message, mask.name)
    labels = replace(labels, affine=image.affine)
    axes = np.abs(image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0))
    if modality == "MR" and "no_orientation" not in image.flags and axes[2].argmax() == 2:
        return as_axial(image), as_axial(labels)
    return image, labels
