"""PAPILA: optic disc and cup in colour fundus photographs of both eyes.

Kovalyk et al., Scientific Data 9, 2022. The masks are contours in text files, a corner a line, column before row, in
px of the photograph. Two experts drew each; expert 1 is read, as most readers of the set do. The disc includes the
cup. `ImagesWithContours/` are the photographs with the contours painted in.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import read_bytes
from medshards.curate.formats.pictures import polygons, raster
from medshards.curate.sample import Image, Instance, Region, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

EYE = "RET[0-9][0-9][0-9]O[DS]"
CONTOURS = "ExpertsSegmentations/Contours"
LABELS = ("disc", "cup")


class Converter(Source):
    """One case an eye; group = patient, the three digits behind RET (OD is the right eye, OS the left)."""

    slug = "papila"
    layouts = (Layout("PapilaDB zip (Figshare)", (f"{CONTOURS}/{EYE}_disc_exp1.txt",)),)
    ignored = {
        f"{CONTOURS}/{EYE}_*_exp2.txt": "contour of the second expert",
        "ExpertsSegmentations/ImagesWithContours/*": "photograph with the contours painted in",
    }

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {f.stem: f for f in tree.glob(f"FundusImages/{EYE}.jpg")}
        contours = {
            label: {f.stem[:8]: f for f in tree.glob(f"{CONTOURS}/{EYE}_{label}_exp1.txt")}
            for label in LABELS
        }
        for key in sorted(images.keys() | contours["disc"].keys() | contours["cup"].keys()):
            files = {label: contours[label][key] for label in LABELS if key in contours[label]}
            if key not in images:
                for file in files.values():
                    yield Reject("missing_image", f"no FundusImages/{key}.jpg", file.name)
            elif len(files) < len(LABELS):
                for file in (images[key], *files.values()):
                    yield Reject(
                        "missing_mask", f"{CONTOURS} has not both contours of {key} by expert 1", file.name
                    )
            else:
                yield Case(key, {"image": images[key], **files}, key[3:6])

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"], upright=True)
        instances = [
            Instance(self.concept(label, case.files[label]), _fill(case.files[label], image), label)
            for label in LABELS
        ]
        yield Sample(case.key, image, instances, case.group)


def _fill(file: File, image: Image) -> Region:
    """The pixels inside a contour, which must lie in the image: one of a resized photograph does not."""
    corners = _read_contour(file)
    height, width = image.size
    if corners.min() < -1 or corners[:, 0].max() > width or corners[:, 1].max() > height:
        right, bottom = corners.max(axis=0)
        message = f"the contour reaches x {right:.0f}, y {bottom:.0f}; its image has {width} x {height} px"
        raise Reject("size_mismatch", message, file.name)
    return polygons.fill(corners, image.size, centre=0)


def _read_contour(file: File) -> NDArray[np.float64]:
    """Corners as N×2 (column, row) in px."""
    try:
        lines = [line.split() for line in read_bytes(file).decode("ascii").splitlines() if line.strip()]
        corners = np.array([(float(x), float(y)) for x, y in lines]).reshape(-1, 2)
    except ValueError as error:
        raise Reject("unreadable", f"two numbers a line are expected: {error}", file.name) from error
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise Reject("unreadable", f"is no contour: {len(corners)} corners", file.name)
    return corners
