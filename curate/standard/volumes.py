"""Datasets of volumes with label maps: nnU-Net's NIfTI files and MedSAM's npz files (2D pictures in these as well)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import blame
from medshards.curate.formats.numbers import as_bytes, as_labels
from medshards.curate.formats.pictures import raster
from medshards.curate.formats.volumes import nifti, npz
from medshards.curate.masks import by_id
from medshards.curate.quantise import to_slices
from medshards.curate.sample import Image, Instance, Reject, Sample, SlicePosition, make_key
from medshards.curate.slices import NOTHING, choose
from medshards.curate.source import Case, Skip, Source
from medshards.curate.standard.named import Named
from medshards.curate.tree import File, Tree
from medshards.curate.volumes import Volume, as_axial

NO_LABELS = "image without labels"


class LabelVolumes(Named, Source):
    """Volumes whose label maps hold the values of the label file, or the ids of the objects of one label.

    objects: that label; None: the values are the label file's.
    """

    objects: ClassVar[str | None] = None

    def objects_of(self, values: NDArray[Any], file: File) -> list[Instance]:
        """The instances of a label map (H×W). Raises Reject (`unknown_label`, `label_not_integer`)."""
        if self.objects is None:
            return self.instances(raster.split_values(values, self.labels.by_value(), file), file)
        concept, ids = self.concept(self.objects, file), as_labels(values, file)
        return [Instance(concept, region, self.objects, number) for number, region in by_id(ids).items()]

    def slices_of(
        self,
        case: Case,
        image: Volume,
        labels: NDArray[Any],
        file: File,
        spacing: tuple[float, float] | None,
        extra: Mapping[str, object],
    ) -> Iterator[Sample | Skip]:
        """A sample for each slice that the rule of the build takes. labels: D×H×W, of `file`."""
        if labels.shape != image.array.shape:
            message = (
                f"the labels are {labels.shape} (slices, rows, columns), their image {image.array.shape}"
            )
            raise Reject("size_mismatch", message, file.name)
        chosen = choose(self.slices, np.count_nonzero(labels, axis=(1, 2)).tolist())
        if not chosen:
            yield Skip(file.name, NOTHING)
            return
        slices = None if image.array.dtype == np.uint8 else to_slices(image)
        for index in chosen:
            yield Sample(
                make_key(f"{case.key}-{index:04d}"),
                Image(image.array[index] if slices is None else slices.stored[index]),
                self.objects_of(labels[index], file),
                case.group,
                case.split,
                spacing=spacing,
                position=SlicePosition(case.key, index, len(labels)),
                intensity=None if slices is None else slices.intensity(index),
                extra=extra,
            )


class NnunetVolumes(LabelVolumes):
    """nnU-Net with NIfTI files: one case a volume; the first channel is the image.

    Slices are axial by the header of the image, or as stored where it does not say how the patient lay.

    modality: of that channel, as dataset.json calls it. unit: `hu` for CT, else `arbitrary`.
    """

    modality: ClassVar[str]
    unit: ClassVar[str]

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        """The pairs of imagesTr and labelsTr, imagesTs and labelsTs; other channels are passed over by name."""
        for part in ("Tr", "Ts"):
            images = _by_stem(tree.glob(f"images{part}/*.nii*"))
            labels = _by_stem(tree.glob(f"labels{part}/*.nii*"))
            for stem, image in images.items():
                name, _, channel = stem.rpartition("_")
                if channel != "0000":
                    yield Skip(image.name, "a channel other than the first")
                elif name in labels:
                    yield _case(self, name, {"image": image, "mask": labels.pop(name)})
                elif part == "Ts":
                    yield Skip(image.name, NO_LABELS)
                else:
                    yield Reject("missing_mask", f"no labelsTr/{name}.nii.gz", image.name)
            for name, mask in labels.items():
                yield Reject("missing_image", f"no images{part}/{name}_0000.nii.gz", mask.name)

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        """The axial slices; the labels must lie on the grid of their image.

        Raises Reject (`size_mismatch`, `unknown_label`, `label_not_integer`, and those of NIfTI).
        """
        file = case.files["mask"]
        stored = nifti.read_image(case.files["image"], self.modality, self.unit)
        labels = nifti.read_labels(file, oriented=False)
        with blame(file):
            if labels.array.shape != stored.array.shape:
                message = f"the labels are {labels.array.shape}, their image {stored.array.shape}"
                raise Reject("size_mismatch", message)
        turn = as_axial if "no_orientation" not in stored.flags else _as_stored
        image = turn(stored)
        extra = {
            "modality": self.modality,
            "grid": image.grid.facts(),
            "original_grid": stored.grid.facts(),
            "flags": list(stored.flags),
        }
        values = turn(replace(labels, affine=stored.affine)).array
        yield from self.slices_of(case, image, values, file, image.spacing_mm[1:], extra)


class MedsamFiles(LabelVolumes):
    """MedSAM's npz files: `imgs`, `gts` and perhaps `spacing` (x, y, z in mm): a volume D×H×W, or a picture H×W(×3)."""

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        """One case a file."""
        for file in tree.glob("**/*.npz"):
            yield _case(self, str(PurePosixPath(file.name).with_suffix("")), {"image": file})

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        """The picture, or the slices. Raises Reject (`bad_shape`, `size_mismatch`, and those of the readers)."""
        file = case.files["image"]
        arrays = npz.read_arrays(file, "imgs", "gts", "spacing")
        missing = [name for name in ("imgs", "gts") if name not in arrays]
        if missing:
            raise Reject(
                "missing_mask" if missing == ["gts"] else "missing_image", f"no array {missing[0]}", file.name
            )
        image, labels = arrays["imgs"], arrays["gts"]
        if labels.ndim == 2 and image.shape in (labels.shape, (*labels.shape, 3)):
            pixels = as_bytes(image, file)
            yield Sample(case.key, Image(pixels), self.objects_of(labels, file), case.group, case.split)
            return
        if labels.ndim != 3 or image.ndim != 3:
            shapes = f"imgs has the shape {image.shape}, gts {labels.shape}"
            raise Reject("bad_shape", f"{shapes}; expected D×H×W both, or H×W×3 and H×W", file.name)
        spacing = _spacing(arrays.get("spacing"), file)
        whole = image if image.dtype == np.uint8 else _plain(image, file)
        volume = Volume(whole, np.eye(4), "", "arbitrary")
        yield from self.slices_of(case, volume, labels, file, spacing, {})


def _case(source: LabelVolumes, name: str, files: Mapping[str, File]) -> Case | Reject:
    key, image = make_key(name), files["image"]
    try:
        return Case(key, files, source.group_of(image, key), source.split_of(image))
    except Reject as reject:
        return reject


def _as_stored(volume: Volume) -> Volume:
    """The slices of a file that does not say how the patient lay."""
    return volume


def _by_stem(files: Sequence[File]) -> dict[str, File]:
    """NIfTI files by name without ending."""
    return {PurePosixPath(file.name).name.removesuffix(".gz").removesuffix(".nii"): file for file in files}


def _plain(image: NDArray[Any], file: File) -> NDArray[Any]:
    """Numbers of a volume that is not 8-bit. Raises Reject `not_finite`."""
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise Reject("not_finite", "imgs holds values that are not finite", file.name)
    return image.astype(np.int32) if image.dtype.kind == "b" else image


def _spacing(values: NDArray[Any] | None, file: File) -> tuple[float, float] | None:
    """(row, column) in mm of a spacing (x, y, z)."""
    if values is None:
        return None
    if values.shape != (3,) or not (np.isfinite(values).all() and (values > 0).all()):
        raise Reject("bad_geometry", f"spacing is {values.tolist()}; expected three sizes in mm", file.name)
    return float(values[1]), float(values[0])
