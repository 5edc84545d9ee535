"""Kvasir-SEG: RGB JPEG masks with ringing, a stray white pixel, sizes that differ, boxes that are no masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

NAMES = (
    "cju0qkwl35piu0993l0dewei2",
    "cju0roawvklrq0799vmjorwfv",
    "cjyzk8qieoboa0848ogj51wwm",
    "ck2bxiswtxuw80838qkisqjwz",
)
EXPECTED = Expected(samples=4, concepts={"polyp": 5})


def write(root: Path, rng: np.random.Generator) -> None:
    """Four pairs; the second has two polyps and a stray pixel, which is below the floor."""
    folder = root / "Kvasir-SEG"
    boxes = {}
    for number, name in enumerate(NAMES):
        size = 120 + 8 * number, 140 + 6 * number
        polyps = draw.blobs(rng, size, 2 if number == 1 else 1, (16, 24))
        mask = np.logical_or.reduce(polyps)
        mask[2, 2] = number == 1
        image = draw.picture(rng, size, polyps, [(190, 90, 80)], (150, 60, 50))
        draw.save(folder / f"images/{name}.jpg", image, quality=90)
        draw.save(folder / f"masks/{name}.jpg", np.stack([draw.white(mask)] * 3, axis=2), quality=90)
        box = {"label": "polyp", "xmin": 1, "ymin": 1, "xmax": 9, "ymax": 9}
        boxes[name] = {"height": size[0], "width": size[1], "bbox": [box]}
    draw.text(folder / "kavsir_bboxes.json", json.dumps(boxes))
