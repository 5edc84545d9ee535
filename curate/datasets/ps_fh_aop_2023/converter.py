"""PS-FH-AOP 2023: pubic symphysis and fetal head in intrapartum ultrasound (MICCAI challenge).

Lu et al., Data in Brief 41, 2022; Zenodo 7851339. The third axis of an image is colour, not depth: its three planes are
equal. Numbers are frames of unnamed videos; a new run begins where a picture no longer resembles the one before it.
The sister set PSFHS has the same folders and continues the numbers: those above 04000 are test cases of the challenge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.formats.volumes import metaimage
from medshards.curate.sample import Image, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

NUMBER = re.compile(r"\d{5}")
LAST = 4000  # number of training cases
ALIKE = 0.6  # correlation; within a run of frames the median is 0.93
STEP = 4  # every fourth pixel is compared


class Converter(Source):
    """One case a picture; group = run of like pictures in the order of numbers (no video or patient is published)."""

    slug = "ps_fh_aop_2023"
    layouts = (
        Layout("Zenodo", ("image_mha/0[0-3][0-9][0-9][0-9].mha", "label_mha/0[0-3][0-9][0-9][0-9].mha")),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {f.stem: f for f in tree.glob("image_mha/*.mha") if NUMBER.fullmatch(f.stem)}
        labels = {f.stem: f for f in tree.glob("label_mha/*.mha") if NUMBER.fullmatch(f.stem)}
        runs = group_runs({n: f for n, f in images.items() if int(n) <= LAST and n in labels})
        for number in sorted(images.keys() | labels.keys()):
            files = [found[number] for found in (images, labels) if number in found]
            if int(number) > LAST:
                yield from (Skip(f.name, "test case, found in the sister set PSFHS") for f in files)
            elif number not in labels:
                yield Reject("missing_mask", f"no label_mha/{number}.mha", files[0].name)
            elif number not in images:
                yield Reject("missing_image", f"no image_mha/{number}.mha", files[0].name)
            else:
                yield Case(number, {"image": images[number], "mask": labels[number]}, runs[number])

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image, values = Image(read_picture(case.files["image"])), metaimage.read(file).array
        raster.require_size(values, image, file)
        parts = self.instances(raster.split_values(values, self.labels.by_value(), file), file)
        yield Sample(case.key, image, parts, case.group)


def read_picture(file: File) -> NDArray[np.uint8]:
    """The picture, H×W where its three planes are equal, else H×W×3."""
    planes = metaimage.read(file).array
    if planes.ndim != 3 or planes.shape[0] != 3 or planes.dtype != np.uint8:
        message = f"holds {planes.dtype} of shape {planes.shape}; three 8-bit colour planes are expected"
        raise Reject("unsupported_image", message, file.name)
    if (planes == planes[0]).all():
        return np.array(planes[0])
    return np.ascontiguousarray(np.moveaxis(planes, 0, 2))


def group_runs(images: Mapping[str, File]) -> dict[str, str]:
    """The run of each number, called after its first one. A picture that cannot be read ends a run."""
    runs: dict[str, str] = {}
    first, before = "", None
    for number, file in sorted(images.items()):
        try:
            plane = metaimage.read(file).array[0, ::STEP, ::STEP].astype(float)
        except (Reject, IndexError):  # told of when the case is read
            plane = None
        if not first or plane is None or before is None or not correlate(before, plane) >= ALIKE:
            first = f"run-{number}"
        runs[number], before = first, plane
    return runs


def correlate(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's correlation of two pictures; 0 when their sizes differ or one is uniform."""
    if a.shape != b.shape or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))
