"""CholecSeg8k: tool numbers in RGB and RGBA masks with a white frame, colour masks and scribbles that are no labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (72, 128)
LIVER, WALL, FAT, GRASPER, GALLBLADDER, OUTSIDE = 21, 11, 12, 31, 22, 50
FRAMES = (
    ("video01/video01_00080", (80, 81, 99, 100)),
    ("video18/video18_01139", (1216,)),
    ("video52/video52_00000", (7,)),
)
EXPECTED = Expected(
    samples=6,
    concepts={"abdominal_wall": 6, "fat": 6, "liver": 6, "grasper": 12, "gallbladder": 5},
)


def write(root: Path, rng: np.random.Generator) -> None:
    """Six frames of three operations, each with two graspers; the gall-bladder is not in the last one."""
    for clip, numbers in FRAMES:
        for number in numbers:
            _write_frame(root / clip, number, clip.startswith("video52"), rng)


def _write_frame(folder: Path, number: int, without_gallbladder: bool, rng: np.random.Generator) -> None:
    view = draw.ellipse(SIZE, (36, 64), (34, 60))
    rows, columns = np.indices(SIZE)
    values = np.where(rows < 24, WALL, np.where(columns < 64, LIVER, FAT)).astype(np.uint8)
    values[draw.ellipse(SIZE, (44, 64), (10, 14))] = LIVER if without_gallbladder else GALLBLADDER
    for column in (30 + int(rng.integers(-4, 4)), 100):
        values[draw.ellipse(SIZE, (40, column), (12, 4))] = GRASPER
    values[~view] = OUTSIDE
    values[[0, -1], :] = values[:, [0, -1]] = 255
    values[30:32, 60:63] = 0  # pixels without label
    tones = {
        WALL: (170, 110, 100),
        LIVER: (120, 40, 40),
        FAT: (200, 180, 90),
        GRASPER: (150, 150, 150),
        OUTSIDE: (2, 2, 2),
    }
    shown = [values == value for value in tones]
    image = draw.picture(rng, SIZE, shown, list(tones.values()), (90, 110, 60), noise=3)
    masks = np.stack([values] * 3, axis=2)
    if number == 1216:
        masks = np.dstack([masks, np.full(SIZE, 255, np.uint8)])
    name = f"frame_{number}_endo"
    draw.save(folder / f"{name}.png", image)
    draw.save(folder / f"{name}_watershed_mask.png", masks)
    draw.save(folder / f"{name}_color_mask.png", np.full((*SIZE, 3), 127, np.uint8))
    draw.save(folder / f"{name}_mask.png", np.zeros((*SIZE, 3), np.uint8))
