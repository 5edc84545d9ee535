"""HC18: the fetal head in 2D ultrasound.

van den Heuvel et al., PLOS ONE 2018, doi 10.1371/journal.pone.0200412. `_Annotation.png` holds the outline of an
ellipse, a thin curve that leaves the image in a few cases; the head is the region inside it. A public copy holds heads
that are filled already. Pixel size and head circumference are in the table beside the folder. The test images have no
annotations.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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
NAME_COLUMN, PIXEL, CIRCUMFERENCE = "filename", "pixel size(mm)", "head circumference (mm)"
SOLID = 0.9  # of the area of the ellipse of equal moments; a filled ellipse has 1, a curve some hundredths
THICK = 5  # px, more than the curve and any straight piece of it


class Converter(Source):
    """One case an image; group = examination (the leading number; patients are not published)."""

    slug = "hc18"
    layouts = (
        Layout("official zip", (f"training_set/{IMAGE}", f"training_set/{MASK}")),
        Layout("one flat folder", (IMAGE, MASK)),
    )

    ignored = {"**/[0-9]*HC_Mask.png": "filled copy of an annotation"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for image in tree.glob(f"test_set/{IMAGE}"):
            yield Skip(image.name, "official test image without public mask")
        folder = tree.layout.needs[0].removesuffix(IMAGE)
        images = {f.stem: f for f in tree.glob(f"{folder}*HC.png")}
        masks = {f.stem.removesuffix("_Annotation"): f for f in tree.glob(f"{folder}*HC_Annotation.png")}
        foreign = sorted(key for key in images.keys() | masks.keys() if not NAME.fullmatch(key))
        if foreign:
            found = (
                f"{foreign[0]} is no name of HC18 (such as 010_HC, 010_2HC): this folder is a renumbered copy"
            )
            everything = tuple(file.name for half in (images, masks) for file in half.values())
            yield Reject("not_native", found, (images | masks)[foreign[0]].name, everything)
            return
        table = tree.get(TABLE) or tree.get(folder + TABLE)
        facts = _read_table(table) if table else None
        for pair in pairs(images, masks, "{}.png beside it".format, "{}_Annotation.png beside it".format):
            if isinstance(pair, Reject):
                yield pair
            elif facts is not None and f"{pair.key}.png" not in facts:
                message = f"{TABLE} has no row with its pixel size and head circumference"
                yield Reject("missing_metadata", message, pair.image.name, (pair.mask.name,))
            else:
                own = facts[f"{pair.key}.png"] if facts else {}
                yield Case(pair.key, pair.files, pair.key[:3], "train", own)

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image = raster.read_image(case.files["image"])
        outline = raster.read_binary(file)
        raster.require_size(outline, image, file)
        mask = fill_outline(outline)
        drawn, filled = int(np.count_nonzero(outline)), int(np.count_nonzero(mask))
        if filled <= 2 * drawn and not _is_solid(outline):
            raise Reject(
                "open_outline", f"the curve of {drawn} px encloses only {filled - drawn} px", file.name
            )
        head = Instance(self.concept("fetal head", file), Region.of(mask), "fetal head")
        pixel = case.facts.get("pixel_size_mm")
        spacing = (pixel, pixel) if pixel else None
        extra = {k: v for k, v in case.facts.items() if k == "head_circumference_mm"}
        yield Sample(case.key, image, [head], case.group, case.split, spacing, extra=extra)


def _is_solid(mask: NDArray[np.bool_]) -> bool:
    """True for a region without an inside of its own: its area is that of the ellipse of equal second moments."""
    places = np.argwhere(mask)
    if len(places) < 2:
        return False
    minor, major = 2 * np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(places.T)), 0))  # half axes in px
    return bool(minor > THICK and len(places) > SOLID * math.pi * minor * major)


def _read_table(table: File) -> dict[str, dict[str, float]]:
    """Pixel size and head circumference in mm by image file name; rows without both are left out.

    Raises Reject (`unreadable`) for a table without these columns.
    """
    rows = csv.DictReader(read_bytes(table).decode("utf-8-sig", "replace").splitlines())
    if missing := {NAME_COLUMN, PIXEL, CIRCUMFERENCE} - set(rows.fieldnames or ()):
        raise Reject("unreadable", f"no column {', '.join(sorted(missing))} in its first line", table.name)
    facts = {}
    for row in rows:
        try:
            pixel, circumference = float(row[PIXEL]), float(row[CIRCUMFERENCE])
        except (TypeError, ValueError):
            continue
        if 0 < pixel < math.inf and 0 < circumference < math.inf:
            facts[row[NAME_COLUMN]] = {"pixel_size_mm": pixel, "head_circumference_mm": circumference}
    return facts
