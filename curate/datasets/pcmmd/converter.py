"""PCMMD: single bone marrow cells, plasma cells and others, in crops of smartphone photographs of smears.

Scientific Data 2025, doi 10.1038/s41597-025-04459-1. Only data/segmentation has outlines: a LabelMe JSON for a crop, in
the folder "masks". LabelMe turns a photograph as its Exif data say before one draws on it, and so is it read here.
Names hold the date and time of the photograph, so none goes further than `discover`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from medshards.curate.formats.pictures import labelme, raster
from medshards.curate.pseudonyms import load_key, pseudonym
from medshards.curate.sample import Image, Instance, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

KINDS = {"plasma": "plasma cells", "non-plasma": "non-plasma cells"}
PHOTOGRAPH = re.compile(r"(.+)_crop\d+")


class Converter(Source):
    """One case a crop; group = photograph where the name tells it (…_crop3), else crop; no patient is published.

    Both are keyed hashes. The class in the key is that of the folder, which is a label of the dataset.
    """

    slug = "pcmmd"
    private_names = True
    layouts = (
        Layout(
            "Mendeley Data",
            ("segmentation/plasma cells/images/*.jpg", "segmentation/plasma cells/masks/*.json"),
        ),
    )

    ignored = {"detection/**/*": "photograph with boxes, without outlines"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        key = load_key()
        for kind, folder in KINDS.items():
            images = _by_stem(tree, f"segmentation/{folder}/images/*.jpg")
            outlines = _by_stem(tree, f"segmentation/{folder}/masks/*.json")
            for stem in sorted(images.keys() | outlines.keys()):
                if stem not in images:
                    yield Reject(
                        "missing_image", "no .jpg of this name among the images", outlines[stem].name
                    )
                elif stem not in outlines:
                    yield Skip(images[stem].name, "crop without outline")
                else:
                    # stems are unique within their folder only
                    crop = f"{kind}-{pseudonym(key, self.slug, 'crop', kind, stem)}"
                    photograph = PHOTOGRAPH.fullmatch(stem)
                    group = pseudonym(key, self.slug, "photograph", photograph[1]) if photograph else crop
                    yield Case(crop, {"image": images[stem], "outline": outlines[stem]}, group)

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


def _by_stem(tree: Tree, pattern: str) -> dict[str, File]:
    return {path.stem: file for path, file in tree.paths(pattern).items()}


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
