"""UroCell: organelles in blocks of mouse bladder cells (FIB-SEM electron microscopy).

Žerovnik Mekuč et al., Comput. Biol. Med. 119, 2020. Image data/X and labels mito/…/X, lyso/…/X, fv/…/X, golgi/…/X, 256³
voxels of about 16 x 16 x 15 nm. The headers of one block contradict each other: only the order of the array counts.
Slices lie across the second axis, so that the blank strips of two images are whole slices; these are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.numbers import as_bytes
from medshards.curate.formats.volumes import nifti
from medshards.curate.masks import by_id
from medshards.curate.sample import Image, Instance, Reject, Sample, SlicePosition
from medshards.curate.slices import NOTHING, choose
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

BLOCK = "fib1-[0-9]-[0-9]-[0-9].nii.gz"
# Where the labels of an organelle lie, the best first: by object, as foreground, as in clones made before May 2021.
FOLDERS = {
    "mito": ("mito/instance", "mito/binary", "mito"),
    "lyso": ("lyso/binary", "lyso"),
    "fv": ("fv/instance", "fv/binary"),
    "golgi": ("golgi/precise/binary",),
    "golgi approximate": ("golgi/approximate/binary",),
}
SPACING = (15e-6, 16e-6)  # mm, along the third and the first axis


class Converter(Source):
    """One case a block, one sample a slice; group = block (all are parts of one tissue, a split cannot do better)."""

    slug = "urocell"
    layouts = (
        Layout("GitHub repository", (f"data/{BLOCK}", f"mito/binary/{BLOCK}")),
        Layout("GitHub repository before May 2021", (f"data/{BLOCK}", f"mito/{BLOCK}")),
    )

    ignored = {
        f"golgi/approximate/binary/{BLOCK}": "approximate Golgi apparatus, where there is a precise one",
        f"{{mito,fv}}/binary/{BLOCK}": "labels by foreground, where there are labels by object",
        f"mito/{{branched,contacting}}/{BLOCK}": "mitochondria of one form",
        "compartments.png": "figure",
    }

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {f.name.rpartition("/")[2]: f for f in tree.glob(f"data/{BLOCK}")}
        labelled = {
            f.name.rpartition("/")[2]
            for fs in FOLDERS.values()
            for d in fs
            for f in tree.glob(f"{d}/{BLOCK}")
        }
        for name in sorted(images.keys() | labelled):
            found = {
                label: next((f for folder in folders if (f := tree.get(f"{folder}/{name}"))), None)
                for label, folders in FOLDERS.items()
            }
            if found["golgi"] is not None:
                found["golgi approximate"] = None  # the same organelles, drawn with less care
            files = {label: file for label, file in found.items() if file is not None}
            if name not in images:
                yield from (Reject("missing_image", f"no data/{name}", file.name) for file in files.values())
            elif not files:
                yield Reject("missing_mask", f"no labels called {name}", images[name].name)
            else:
                key = name.removesuffix(".nii.gz")
                yield Case(key, {"image": images[name], **files}, key)

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        files = dict(case.files)
        file = files.pop("image")
        image = nifti.read_image(file, "EM", "arbitrary", oriented=False).array
        volumes = {}
        for label, labels in files.items():
            volumes[label] = nifti.read_labels(labels, oriented=False).array
            if volumes[label].shape != image.shape:
                message = f"the labels are {volumes[label].shape}, their image {image.shape}"
                raise Reject("size_mismatch", message, labels.name)
        blank: NDArray[Any] = image.min(axis=(0, 2)) == image.max(axis=(0, 2))
        annotated = sum(np.count_nonzero(volume, axis=(0, 2)) for volume in volumes.values())
        for _ in np.flatnonzero(blank & (annotated > 0)):
            yield Skip(file.name, "slice without image data")
        chosen = [
            index for index in choose(self.slices, np.where(blank, 0, annotated).tolist()) if not blank[index]
        ]
        if not chosen:
            yield Skip(file.name, NOTHING)
        pixels = as_bytes(image, file)
        for index in chosen:
            yield Sample(
                f"{case.key}-{index:04d}",
                Image(pixels[:, index]),
                [
                    Instance(self.concept(label, files[label]), region, label, number)
                    for label, volume in volumes.items()
                    for number, region in by_id(volume[:, index]).items()
                ],
                case.group,
                spacing=SPACING,
                position=SlicePosition(case.key, index, image.shape[1]),
                concepts=tuple(
                    sorted(self.concept(label, files[label]) for label in volumes if " " not in label)
                ),
            )
