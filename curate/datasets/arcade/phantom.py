"""ARCADE: COCO files whose image ids are no names and whose annotation ids repeat, grey and RGB frames, two tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (96, 96)
CATEGORIES = [
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "9a",
    "10",
    "10a",
    "11",
    "12",
    "12a",
    "13",
    "14",
    "14a",
]
CATEGORIES += ["15", "16", "16a", "16b", "16c", "12b", "14b", "stenosis"]
REGIONS = {  # (image id, regions) of each file
    "train": {"1": (1, 2), "2": (2, 1), "10": (10, 0), "11": (11, 1)},
    "val": {"1": (1, 1), "10": (2, 2), "2": (3, 0)},  # ids in the string order of the names
    "test": {"1": (1, 1), "2": (2, 3)},
}
EXPECTED = Expected(samples=9, concepts={"coronary_artery_stenosis": 11}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Nine frames of the stenosis task in three splits, and a file of the syntax task."""
    for split, frames in REGIONS.items():
        folder = root / "arcade/stenosis" / split
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for stem, (number, count) in frames.items():
            polygons = [_outline(20 + 28 * k, 20 + 28 * k) for k in range(count)]
            lumps = [draw.ellipse(SIZE, (20 + 28 * k, 20 + 28 * k), (9, 9)) for k in range(count)]
            frame = draw.picture(rng, SIZE, [draw.tree(rng, SIZE), *lumps], [60], background=170)
            draw.save(folder / f"images/{stem}.png", np.dstack([frame] * 3) if count == 2 else frame)
            images.append({"id": number, "width": SIZE[1], "height": SIZE[0], "file_name": f"{stem}.png"})
            for outline in polygons:
                # in train the numbering begins again after two annotations
                own = len(annotations) % 2 + 1 if split == "train" else len(annotations) + 1
                facts = {"image_id": number, "category_id": 26, "area": 0.0, "bbox": [], "iscrowd": 0}
                annotations.append({"id": own, "segmentation": [outline], **facts})
        _write(folder / f"annotations/{split}.json", images[::-1], annotations)
    _write(root / "arcade/syntax/train/annotations/train.json", [], [])


def _outline(x: float, y: float) -> list[float]:
    """A circle of radius 9 px as polygon of 24 corners with two decimals."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([x + 9 * np.cos(angles), y + 9 * np.sin(angles)], axis=1)
    return [float(v) for v in np.round(circle, 2).ravel()]


def _write(path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> None:
    categories = [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(CATEGORIES, start=1)]
    draw.text(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))
