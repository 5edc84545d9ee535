"""m2caiSeg: train, test and trainval, a name in both for different pictures, mixed colours at the borders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (84, 150)
BLACK, WALL, LIVER, GALLBLADDER = (0, 0, 0), (85, 255, 170), (85, 170, 0), (85, 170, 255)
HOOK, GRASPER, UNKNOWN, SCISSORS = (0, 170, 85), (0, 85, 170), (170, 0, 85), (0, 255, 85)
MIXTURE = (85, 85, 85)  # of no class
TRAIN, TEST = ("00", "4175", "650", "03425"), ("225", "4175", "3425")
RENAMED = {"4175": "04175"}  # trainval holds the test picture as 4175
EXPECTED = Expected(
    samples=7,
    concepts={"abdominal_wall": 7, "liver": 7, "gallbladder": 7, "hook_electrocautery": 4, "grasper": 3},
    skipped=7,
)


def write(root: Path, rng: np.random.Generator) -> None:
    """Seven frames, four of train and three of test, and all of them again in trainval."""
    folder = root / "m2caiSeg dataset"
    for split, names in (("train", TRAIN), ("test", TEST)):
        for name in names:
            _write_frame(folder / split, name, HOOK if split == "train" else GRASPER, rng)
            again = RENAMED.get(name, name) if split == "train" else name
            for place, ending in (("images", ".jpg"), ("groundtruth", "_gt.png")):
                copy = folder / "trainval" / place / (again + ending)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / split / place / (name + ending), copy)


def _write_frame(folder: Path, name: str, tool: tuple[int, int, int], rng: np.random.Generator) -> None:
    """Wall above liver, a gall-bladder and a tool on it; specks of "scissors" and mixtures between the regions."""
    view = draw.ellipse(SIZE, (42, 75), (40, 72))
    mask = np.full((*SIZE, 3), WALL, np.uint8)
    mask[30:] = LIVER
    mask[29:31] = MIXTURE
    mask[29:31, 60:62] = SCISSORS  # four pixels of a mixture that equals a class
    for shape, color in (
        (draw.ellipse(SIZE, (52, 50), (12, 16)), GALLBLADDER),
        (draw.ellipse(SIZE, (52, 95 + int(rng.integers(-6, 6))), (10, 6)), tool),
        (draw.ellipse(SIZE, (70, 75), (4, 8)), UNKNOWN),
        (~view, BLACK),
    ):
        mask[shape] = color
    image = np.clip(mask // 2 + 60 + rng.normal(0, 4, (*SIZE, 1)), 0, 255).astype(np.uint8)
    draw.save(folder / f"images/{name}.jpg", image)
    draw.save(folder / f"groundtruth/{name}_gt.png", mask)
