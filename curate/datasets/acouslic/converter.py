"""ACOUSLIC-AI: the fetal abdomen in blind sweeps of obstetric ultrasound (MICCAI 2024 challenge).

Sappia, Murphy et al., Zenodo 12697994. A volume is a stack of 840 frames, six sweeps of 140. Mask values 1 and 2 are
the abdomen in an optimal and a suboptimal plane: a grade of the frame, no class. Frames without a mask between
annotated ones show the abdomen too, so they say nothing of its absence.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from medshards.curate.formats.pictures import raster
from medshards.curate.formats.text import read_text
from medshards.curate.formats.volumes import metaimage
from medshards.curate.pairs import pairs
from medshards.curate.sample import Image, Reject, Sample, SlicePosition, make_key
from medshards.curate.slices import NOTHING, choose
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

TABLE = "circumferences/fetal_abdominal_circumferences_per_sweep.csv"
FRAMES, SWEEP = 840, 140  # frames of a volume and of a sweep


class Converter(Source):
    """One case a volume, one sample a frame; group = subject of the circumference table (300 cases, 281 subjects)."""

    slug = "acouslic"
    layouts = (Layout("Zenodo training set", (TABLE, "images/stacked_fetal_ultrasound/*.mha")),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        subjects = read_subjects(tree.glob(TABLE)[0])
        images = {f.stem: f for f in tree.glob("images/stacked_fetal_ultrasound/*.mha")}
        masks = {
            f.stem: f for f in tree.glob("**/stacked_fetal_abdomen/*.mha")
        }  # masks/ beside or in images/
        names = "stacked_fetal_ultrasound/{}.mha".format, "stacked_fetal_abdomen/{}.mha".format
        for pair in pairs(images, masks, *names):
            if isinstance(pair, Reject):
                yield pair
            elif pair.key not in subjects:
                message = "is not in the circumference table, so its subject is unknown"
                yield from (Reject("missing_metadata", message, f.name) for f in pair.files.values())
            else:
                yield Case(make_key(pair.key), pair.files, f"subject-{subjects[pair.key]}")

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        file = case.files["mask"]
        frames, masks = metaimage.read(case.files["image"]), metaimage.read(file)
        if frames.array.ndim != 3 or frames.array.dtype != np.uint8:
            message = (
                f"holds {frames.array.dtype} of shape {frames.array.shape}, expected a stack of 8-bit frames"
            )
            raise Reject("unsupported_image", message, case.files["image"].name)
        if masks.array.shape != frames.array.shape:
            message = f"the masks are {masks.array.shape}, the frames {frames.array.shape}"
            raise Reject("size_mismatch", message, file.name)
        chosen = choose(self.slices, [int(np.count_nonzero(mask)) for mask in masks.array])
        if not chosen:
            yield Skip(file.name, NOTHING)
        for index in chosen:
            grades = raster.split_values(masks.array[index], self.labels.by_value(), file)
            yield Sample(
                f"{case.key}-{index:04d}",
                Image(np.array(frames.array[index])),
                self.instances(grades, file),
                case.group,
                spacing=(frames.spacing[1], frames.spacing[2]) if frames.spacing else None,
                position=SlicePosition(case.key, index, len(frames.array)),
                extra={"sweep": index // SWEEP + 1} if len(frames.array) == FRAMES else {},
            )


def read_subjects(table: File) -> dict[str, str]:
    """Subject of each uuid; subjects are text with leading zeros."""
    rows = csv.DictReader(io.StringIO(read_text(table)))
    if not {"uuid", "subject_id"} <= set(rows.fieldnames or ()):
        raise Reject(
            "unreadable", f"has columns {rows.fieldnames}; uuid and subject_id are expected", table.name
        )
    return {row["uuid"]: row["subject_id"] for row in rows}
