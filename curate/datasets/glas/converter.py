"""GlaS (MICCAI 2015, Warwick-QU): glands in H&E-stained colon tissue.

Sirinukunwattana et al., Medical Image Analysis 35, 2017. `NAME_anno.bmp` holds an id for each gland; in four images
of testB all glands share one id, which then is an instance of several components. Patients and grades of the tissue
stand in Grade.csv, which has bare CR line ends and blanks after its commas.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from medshards.curate import masks as regions
from medshards.curate.formats.pictures import raster
from medshards.curate.formats.text import read_text
from medshards.curate.pairs import pairs, read_both
from medshards.curate.sample import Instance, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

NAME = re.compile(r"(?P<split>train|testA|testB)_\d+")
PIXEL = 0.00062005  # mm; 0.465 µm rescaled to a magnification of 20


class Converter(Source):
    """One case an image; group = patient by Grade.csv (the official splits separate visual fields, not patients)."""

    slug = "glas"
    layouts = (Layout("flat folder (official zip, Kaggle)", ("Grade.csv", "*_anno.bmp")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        table = _read_table(tree.files["Grade.csv"])
        masks = {f.stem.removesuffix("_anno"): f for f in tree.glob("*_anno.bmp")}
        images = {f.stem: f for f in tree.glob("*.bmp") if not f.stem.endswith("_anno")}
        for pair in pairs(images, masks, "{}.bmp beside it".format, "{}_anno.bmp beside it".format):
            if isinstance(pair, Reject):
                yield pair
            elif (match := NAME.fullmatch(pair.key)) is None or pair.key not in table:
                message = "has no row in Grade.csv, so its patient is unknown"
                yield Reject("missing_label", message, pair.image.name, (pair.mask.name,))
            else:
                patient, grade, detailed = table[pair.key]
                facts = {"grade": grade, "detailed_grade": detailed}
                yield Case(pair.key, pair.files, patient, match["split"], facts)

    def load(self, case: Case) -> Iterator[Sample]:
        image, ids = read_both(case, raster.read_indices)
        gland = self.concept("gland", case.files["mask"])
        glands = [Instance(gland, region, "gland", number) for number, region in regions.by_id(ids).items()]
        yield Sample(case.key, image, glands, case.group, case.split, (PIXEL, PIXEL), extra=case.facts)


def _read_table(file: File) -> dict[str, tuple[str, str, str]]:
    """Patient, grade (GlaS) and grade (Sirinukunwattana et al. 2015) by image name."""
    text = read_text(file)
    rows = csv.reader(io.StringIO(text, newline=None), skipinitialspace=True)
    return {row[0]: (row[1].strip(), row[2].strip(), row[3].strip()) for row in rows if len(row) == 4}
