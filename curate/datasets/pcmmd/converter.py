"""PCMMD: single bone marrow cells, plasma cells and others, in crops of smartphone photographs of smears.

Scientific Data 2025, doi 10.1038/s41597-025-04459-1. Only data/segmentation has outlines: a LabelMe JSON for a crop, in
the folder "masks". LabelMe turns a photograph as its Exif data say before one draws on it, and so is it read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from medshards.curate.formats.pictures import labelme, raster
from medshards.curate.sample import Image, Instance, Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

KINDS = {"plasma": "plasma cells", "non-plasma": "non-plasma cells"}
PHOTOGRAPH = re.compile(r"(.+)_crop\d+")


class Converter(Source):
    """One case a crop; group = photograph where the name tells it (…_crop3), else crop; no patient is published."""

    slug = "pcmmd"
    layouts = (
        Layout(
            "Mendeley Data",
            ("segmentation/plasma cells/images/*.jpg", "segmentation/plasma cells/masks/*.json"),
        ),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for kind, folder in KINDS.items():
            images = {f.stem: f for f in tree.glob(f"segmentation/{folder}/images/*.jpg")}
            outlines = {f.stem: f for f in tree.glob(f"segmentation/{folder}/masks/*.json")}
            for stem in sorted(images.keys() | outlines.keys()):
                key = make_key(f"{kind}-{stem}")  # stems are unique within their folder only
                if stem not in images:
                    yield Reject("missing_image", f"no {stem}.jpg among the images", outlines[stem].name)
                elif stem not in outlines:
                    yield Skip(images[stem].name, "crop without outline")
                else:
                    photograph = PHOTOGRAPH.fullmatch(stem)
                    files = {"image": images[stem], "outline": outlines[stem]}
                    yield Case(key, files, photograph[1] if photograph else key)

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        file = case.files["outline"]
        image = raster.read_image(case.files["image"], upright=True)
        drawing = scaled(labelme.read_labelme(file), image, file)
        if not drawing.shapes:
            yield Skip(file.name, "crop without outline")
            return
        cells = [
            Instance(self.concept(shape.label, file), labelme.region(shape, image.size, file), shape.label)
            for shape in drawing.shapes
        ]
        yield Sample(case.key, image, cells, case.group)


def scaled(drawing: labelme.Drawing, image: Image, file: File) -> labelme.Drawing:
    """The drawing in px of the image. Raises Reject (`size_mismatch`) when it was made on one of other proportions."""
    (height, width), (drawn_height, drawn_width) = image.size, drawing.size
    if drawing.size == image.size:
        return drawing
    down, across = height / max(drawn_height, 1), width / max(drawn_width, 1)
    if abs(down - across) > 0.01 * across:
        message = f"was drawn on {drawn_width} x {drawn_height} px, the image has {width} x {height} px"
        raise Reject("size_mismatch", message, file.name)
    shapes = tuple(replace(shape, points=shape.points * (across, down)) for shape in drawing.shapes)
    return replace(drawing, size=image.size, shapes=shapes)
