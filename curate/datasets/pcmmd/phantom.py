"""PCMMD: equal names in both classes, a turned photograph, a crop without outline, photographs with boxes beside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image

from medshards.curate.phantoms import Expected, draw

SIZE = (60, 80)
EXPECTED = Expected(samples=5, concepts={"plasma_cell": 4, "non_plasma_cell": 2}, skipped=1)
TOP = "PCMMD Plasma Cells for Multiple Myeloma Diagnosis"


def write(root: Path, rng: np.random.Generator) -> None:
    """Three crops of plasma cells, of which one shows two and one is turned; two of other cells; one not outlined."""
    data = root / TOP / TOP / "data"
    folder = data / "segmentation/plasma cells"
    crop(folder, rng, "P_20221017_161510_crop0", ["plasma_cell"])
    crop(folder, rng, "P_20221017_161510_crop1", ["plasma_cell", "plasma_cell"])
    crop(folder, rng, "IMG_20230628_184923", ["plasma_cell"], orientation=6)
    folder = data / "segmentation/non-plasma cells"
    crop(folder, rng, "P_20221017_161510_crop0", ["non_plasma_cell"])
    crop(folder, rng, "7 (2)", ["non_plasma_cell"])
    draw.save(folder / "images/8.jpg", draw.picture(rng, SIZE, background=(230, 210, 220)))
    draw.save(data / "detection/train/images/1692243677854.jpg", draw.picture(rng, SIZE))


def crop(folder: Path, rng: np.random.Generator, stem: str, labels: list[str], orientation: int = 1) -> None:
    """A crop with a cell for each label, and the LabelMe file drawn on it upright."""
    cells = [(30, 20 + 40 * number) for number in range(len(labels))]
    masks = [draw.ellipse(SIZE, center, (14, 12)) for center in cells]
    upright = draw.picture(rng, SIZE, masks, [(120, 60, 150)], (230, 210, 220))
    stored = np.rot90(upright) if orientation == 6 else upright  # 6: a viewer turns it clockwise
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    draw.save(folder / f"images/{stem}.jpg", np.ascontiguousarray(stored), quality=92, exif=exif)
    angles = np.arange(0, 2 * np.pi, 0.2)
    shapes = [
        {"label": label, "points": [[x + 12 * np.cos(a), y + 14 * np.sin(a)] for a in angles]}
        for label, (y, x) in zip(labels, cells, strict=True)
    ]
    content = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shapes, "imageData": None}
    draw.text(folder / f"masks/{stem}.json", json.dumps(content))
