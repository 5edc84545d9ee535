"""HC18: the fetal head in 2D ultrasound.

van den Heuvel et al., PLOS ONE 2018, doi 10.1371/journal.pone.0200412. `_Annotation.png` holds the outline of an
ellipse, a thin curve that leaves the image in a few cases; the head is the region inside it. Pixel size and head
circumference are in the table beside the folder. The test images have no annotations.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import numpy as np

from medshards.curate.formats.files import read_bytes
from medshards.curate.formats.pictures import raster
from medshards.curate.masks import fill_outline
from medshards.curate.pairs import pairs
from medshards.curate.sample import Instance, Region, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

IMAGE = "[0-9][0-9][0-9]_*HC.png"
MASK = "[0-9][0-9][0-9]_*HC_Annotation.png"
NAME = re.compile(r"\d{3}_[2-4]?HC")
TABLE = "training_set_pixel_size_and_HC.csv"


class Converter(Source):
    """One case an image; group = examination (the leading number; patients are not published)."""

    slug = "hc18"
    layouts = (
        Layout("official zip", (f"training_set/{IMAGE}", f"training_set/{MASK}")),
        Layout("one flat folder", (IMAGE, MASK)),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        folder = tree.layout.needs[0].removesuffix(IMAGE)
        images = {f.stem: f for f in tree.glob(f"{folder}*HC.png")}
        masks = {f.stem.removesuffix("_Annotation"): f for f in tree.glob(f"{folder}*HC_Annotation.png")}
        foreign = sorted(key for key in images.keys() | masks.keys() if not NAME.fullmatch(key))
        if foreign:
            found = (
                f"{foreign[0]} is no name of HC18 (such as 010_HC, 010_2HC): this folder is a renumbered copy"
            )
            yield Reject("not_native", found, (images | masks)[foreign[0]].name)
            return
        table = tree.get(TABLE) or tree.get(folder + TABLE)
        facts = _read_table(table) if table else {}
        for pair in pairs(images, masks, "*.png beside it", "*_Annotation.png beside it"):
            if isinstance(pair, Reject):
                yield pair
            else:
                yield Case(pair.key, pair.files, pair.key[:3], "train", facts.get(f"{pair.key}.png", {}))
        for image in tree.glob(f"test_set/{IMAGE}"):
            yield Skip(image.name, "official test image without public mask")

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image = raster.read_image(case.files["image"])
        outline = raster.read_binary(file)
        raster.require_size(outline, image, file)
        mask = fill_outline(outline)
        drawn, filled = int(np.count_nonzero(outline)), int(np.count_nonzero(mask))
        if filled <= 2 * drawn:
            raise Reject(
                "open_outline", f"the curve of {drawn} px encloses only {filled - drawn} px", file.name
            )
        head = Instance(self.concept("fetal head", file), Region.of(mask), "fetal head")
        pixel = case.facts.get("pixel_size_mm")
        spacing = (pixel, pixel) if pixel else None
        extra = {k: v for k, v in case.facts.items() if k == "head_circumference_mm"}
        yield Sample(case.key, image, [head], case.group, case.split, spacing, extra=extra)


def _read_table(table: File) -> dict[str, dict[str, float]]:
    """Pixel size and head circumference in mm by image file name. Raises Reject for a row without them."""
    rows = csv.DictReader(read_bytes(table).decode("utf-8-sig", "replace").splitlines())
    facts = {}
    for row in rows:
        try:
            pixel, circumference = float(row["pixel size(mm)"]), float(row["head circumference (mm)"])
            facts[row["filename"]] = {"pixel_size_mm": pixel, "head_circumference_mm": circumference}
        except (KeyError, TypeError, ValueError) as error:
            wanted = "columns filename, pixel size(mm) and head circumference (mm) with numbers are expected"
            raise Reject("unreadable", f"line {rows.line_num}: {wanted}", table.name) from error
    return facts
