"""BUS-UCLM: benign and malignant lesions in breast ultrasound.

Vallez et al., Scientific Data 12, 2025. Masks are green (benign), red (malignant) or black (no lesion), as the column
Label of INFO.csv says. All masks are 856 x 606 px; so are the images, but for those of patient HESN, which are cut
out of that frame. Where, is not documented; the offset used here gives the highest contrast between the inside and
the rim of the masks of that patient. How the codes of four letters were made is not published, and they may be
initials: patients are numbered in the order of their codes in INFO.csv, so that names keep their order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from medshards.curate.formats.pictures import raster
from medshards.curate.formats.text import read_text
from medshards.curate.pairs import pairs
from medshards.curate.sample import Image, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

NAME = "[A-Z][A-Z][A-Z][A-Z]_[0-9][0-9][0-9].png"
COLUMNS = ("Label", "Doppler", "Marks", "Combined")
LESIONS: dict[str, set[str]] = {"Normal": set(), "Benign": {"benign"}, "Malignant": {"malignant"}}
ANSWERS = {"Yes": True, "Y": True, "No": False}
TEST_PATIENTS = {"COPE", "ANFO", "ELCO", "CRCI", "FLKA"}  # of the authors' script; the other 33 train
FRAME = (606, 856)  # height, width of every mask in px
CROPPED_PATIENT = "HESN"
CROP_BOTTOM = 514  # row of the frame below the last row of a cropped image; columns are centred
ALIGNMENT = "cropped image placed in a black 856 x 606 frame; the offset is inferred, ±5 px"


class Converter(Source):
    """One case an image; group = patient, whose code begins the name; both under a number of the patient's."""

    slug = "bus_uclm"
    private_names = True
    layouts = (Layout("PNG version (Mendeley Data)", ("INFO.csv", f"images/{NAME}", f"masks/{NAME}")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        table = _read_table(tree.files["INFO.csv"])
        codes = sorted({name[:4] for name in table})
        images = {path.stem: file for path, file in tree.paths(f"images/{NAME}").items()}
        masks = {path.stem: file for path, file in tree.paths(f"masks/{NAME}").items()}
        for pair in pairs(images, masks, "image of this name".format, "mask of this name".format):
            if isinstance(pair, Reject):
                yield pair
            elif pair.key not in table:
                yield Reject("missing_label", "has no row in INFO.csv", pair.image.name, (pair.mask.name,))
            else:
                code, _, number = pair.key.partition("_")
                patient = f"P{codes.index(code) + 1:02d}"
                key = f"{patient}_{number}"
                files = {
                    "image": pair.image.renamed(f"images/{key}.png"),
                    "mask": pair.mask.renamed(f"masks/{key}.png"),
                }
                facts = {"row": table[pair.key], "cropped": code == CROPPED_PATIENT}
                yield Case(key, files, patient, "test" if code in TEST_PATIENTS else "train", facts)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        facts = _known(case.facts["row"], case.files["image"])
        label = facts.pop("label")
        if case.facts["cropped"] and image.size != FRAME:
            image = _place(image, case.files["image"])
            facts["alignment"] = ALIGNMENT
        file = case.files["mask"]
        colors = raster.read_color(file)
        raster.require_size(colors, image, file)
        lesions = self.instances(raster.split_colors(colors, self.labels.by_color(), file), file)
        found = {i.label for i in lesions}
        if found != LESIONS[label]:
            message = (
                f"INFO.csv says {label}, the colours are those of {', '.join(sorted(found)) or 'no lesion'}"
            )
            raise Reject("label_mismatch", message, file.name)
        yield Sample(case.key, image, lesions, case.group, case.split, extra=facts)


def _read_table(file: File) -> dict[str, dict[str, str]]:
    """Rows of INFO.csv by name without suffix. Its column Resolution is wrong for cropped images and left out."""
    rows = csv.DictReader(io.StringIO(read_text(file)), delimiter=";")
    if missing := {"Image", *COLUMNS} - set(rows.fieldnames or ()):
        raise Reject(
            "unreadable", f"no column {', '.join(sorted(missing))}; found {rows.fieldnames}", file.name
        )
    return {row["Image"].removesuffix(".png"): {c: row[c] for c in COLUMNS} for row in rows}


def _known(row: Mapping[str, str], file: File) -> dict[str, Any]:
    """A row with its answers as bool; values that are not understood are a Reject."""
    if row["Label"] not in LESIONS or any(row[c] not in ANSWERS for c in COLUMNS[1:]):
        raise Reject("unknown_label", f"its row in INFO.csv is not understood: {dict(row)}", file.name)
    return {"label": row["Label"], **{c.lower(): ANSWERS[row[c]] for c in COLUMNS[1:]}}


def _place(image: Image, file: File) -> Image:
    """A cropped image at its place in a black frame as large as the mask."""
    height, width = image.size
    top, left = CROP_BOTTOM - height, (FRAME[1] - width) // 2
    if top < 0 or left < 0:
        raise Reject(
            "size_mismatch", f"{width} x {height} px are no crop of the 856 x 606 px frame", file.name
        )
    framed = np.zeros(FRAME + image.pixels.shape[2:], image.pixels.dtype)
    framed[top : top + height, left : left + width] = image.pixels
    return Image(framed)
