"""The printed figures of Table 3 of Medical SAM3 (table3.csv): ten internal and seven external sets."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("table3.csv")
ROLES = {"internal": "val", "external": "test"}  # the split that the paper measures


@dataclass(frozen=True)
class Printed:
    """A row of the paper: Dice and IoU of SAM3 and of Medical SAM3, in percent. slug: '' for the average of a role."""

    role: str
    slug: str
    name: str
    dice: tuple[float, float]
    iou: tuple[float, float]


def printed() -> list[Printed]:
    """The paper's rows, in its order."""
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [
        Printed(
            row["role"],
            row["slug"],
            row["name_in_paper"],
            (float(row["dice_sam3"]), float(row["dice_medical_sam3"])),
            (float(row["iou_sam3"]), float(row["iou_medical_sam3"])),
        )
        for row in csv.DictReader(lines)
    ]


def sets_of(datasets: Collection[str]) -> list[str]:
    """The sets of the table among these datasets."""
    return [row.slug for row in printed() if row.slug in datasets]
