"""BTXRD: primary bone tumours in radiographs of limbs and pelvis.

Yao et al., Scientific Data 12, 2025. Each lesion is drawn twice in the LabelMe file, as a rectangle and as a polygon;
the polygons are the masks. A normal radiograph has no file: where the table does not say so, nothing is known to be
absent. Patients are not published: images that follow each other with one centre, age, sex and anatomy are taken for
views of one patient.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from medshards.curate.formats.files import read_bytes
from medshards.curate.formats.pictures import labelme, raster
from medshards.curate.formats.xlsx import read_sheet
from medshards.curate.sample import Instance, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

NAME = "IMG[0-9][0-9][0-9][0-9][0-9][0-9]"
SUFFIXES = (".jpeg", ".jpg", ".png")
IMAGES, DRAWINGS = f"images/**/{NAME}.*", f"Annotations/**/{NAME}.json"  # one user's archive doubles a folder
PATIENT = (
    *("center", "age", "gender", "hand", "ulna", "radius", "humerus", "foot", "tibia", "fibula", "femur"),
    *("hip bone", "ankle-joint", "knee-joint", "hip-joint", "wrist-joint", "elbow-joint", "shoulder-joint"),
)


class Converter(Source):
    """One case an image; group = run of images that look like one patient's, named by its first image."""

    slug = "btxrd"
    layouts = (Layout("BTXRD.zip (Figshare)", (IMAGES, DRAWINGS)),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        table = _read_table(tree)
        groups = _runs(table)
        images = {f.stem: f for f in tree.glob(IMAGES) if f.suffix in SUFFIXES}
        drawings = {f.stem: f for f in tree.glob(DRAWINGS)}
        for key in sorted(images.keys() | drawings.keys()):
            if key not in images:
                yield Reject("missing_image", f"no images/{key}.jpeg", drawings[key].name)
            elif key in drawings:
                yield Case(key, {"image": images[key], "annotation": drawings[key]}, groups.get(key, key))
            elif (tumor := table.get(key, {}).get("tumor")) == "1":
                message = f"no Annotations/{key}.json, and the table says there is a tumour"
                yield Reject("missing_mask", message, images[key].name)
            else:
                yield Case(key, {"image": images[key]}, groups.get(key, key), facts={"normal": tumor == "0"})

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"], upright=True)
        file = case.files.get("annotation")
        if file is None:
            yield Sample(case.key, image, [], case.group, concepts=None if case.facts["normal"] else ())
            return
        drawing = labelme.read_labelme(file)
        if drawing.size != image.size:
            (dh, dw), (h, w) = drawing.size, image.size
            raise Reject(
                "size_mismatch", f"it was drawn on {dw} x {dh} px, its image has {w} x {h} px", file.name
            )
        kinds = [shape.kind for shape in drawing.shapes]
        if "polygon" not in kinds or set(kinds) - {"polygon", "rectangle"}:
            message = (
                f"polygons and rectangles are expected; found {', '.join(sorted(set(kinds))) or 'nothing'}"
            )
            raise Reject("bad_annotations", message, file.name)
        lesions = [
            Instance(self.concept(shape.label, file), labelme.region(shape, image.size, file), shape.label)
            for shape in drawing.shapes
            if shape.kind == "polygon"
        ]
        alone = max(0, kinds.count("rectangle") - len(lesions))
        lost = {"rectangles without polygon": alone} if alone else {}
        yield Sample(case.key, image, lesions, case.group, lost=lost)


def _read_table(tree: Tree) -> dict[str, dict[str, str]]:
    """Rows of dataset.xlsx, or of its export dataset.csv, by image; empty where there is neither."""
    if file := tree.get("dataset.xlsx"):
        rows = read_sheet(file)
    elif file := tree.get("dataset.csv"):
        rows = list(csv.reader(io.StringIO(read_bytes(file).decode("utf-8-sig", "replace"))))
    else:
        return {}
    head = rows[0] if rows else []
    if missing := {"image_id", "tumor", *PATIENT} - set(head):
        raise Reject("unreadable", f"no column {', '.join(sorted(missing))} in its first row", file.name)
    table = {
        row[head.index("image_id")].partition(".")[0]: dict(zip(head, row)) for row in rows[1:] if any(row)
    }
    return {key: row for key, row in table.items() if fnmatchcase(key, NAME)}


def _runs(table: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The first image of the run that an image belongs to: numbers without gap, equal in every column of PATIENT."""
    first: dict[str, str] = {}
    last, facts = -1, None
    for key in sorted(table):
        number, own = int(key[3:]), [table[key].get(column) for column in PATIENT]
        if number != last + 1 or own != facts:
            run = key
        first[key] = run
        last, facts = number, own
    return first
