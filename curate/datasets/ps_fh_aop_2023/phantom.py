"""PS-FH-AOP 2023: images with three equal planes, flat labels, two runs of frames, a number of the sister set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.datasets.acouslic.phantom import save_mha
from medshards.curate.phantoms import Expected, draw

SIZE = (40, 40)
RUNS = {"00001": 3, "00004": 2}  # first number and length of a run
EXPECTED = Expected(samples=5, concepts={"pubic_symphysis": 5, "fetal_head": 5}, skipped=2)


def write(root: Path, rng: np.random.Generator) -> None:
    """Frames of a run share their speckle; the next run has its own."""
    folder = root / "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"
    for first, length in {**RUNS, "04001": 1}.items():
        center = (24, 26) if first == "00001" else (26, 14)
        symphysis, head = draw.ellipse(SIZE, (6, 20), (3, 6)), draw.ellipse(SIZE, center, (10, 9))
        labels = symphysis + 2 * head.astype(np.uint8)
        frame = draw.picture(rng, SIZE, [symphysis, head], [150, 110], 40, noise=30)
        for number in range(int(first), int(first) + length):
            shown = np.clip(frame + rng.normal(0, 5, SIZE), 0, 255).astype(np.uint8)
            save_mha(folder / f"image_mha/{number:05d}.mha", np.stack([shown] * 3), (1, 1, 1))
            save_mha(folder / f"label_mha/{number:05d}.mha", labels.astype(np.uint8), (1, 1))
