"""FetoPlac: folders with blanks, masks in colour, predictions beside them, clips without masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

VIDEOS = {"video01": ("anon001", 64, 3), "video02": ("anon002", 56, 2), "video05": ("anon010", 72, 2)}
EXPECTED = Expected(samples=7, concepts={"placental_vessel": 7}, skipped=2)


def write(root: Path, rng: np.random.Generator) -> None:
    """Seven annotated frames of three videos of different sizes, and two frames of a clip without masks."""
    top = root / "Fetoscopy Placenta Dataset"
    for video, (prefix, side, count) in VIDEOS.items():
        size = (side, side)
        fov = draw.ellipse(size, (side / 2, side / 2), (side * 0.48, side * 0.48))
        for number in range(count):
            vessels = draw.tree(rng, size) & fov
            frame = draw.picture(
                rng, size, [fov, vessels], [(190, 120, 90), (130, 30, 30)], (2, 2, 2), noise=3
            )
            mask = np.dstack([draw.white(vessels)] * 3)
            if number == 1:
                mask[:, :, 1:] = 0  # red alone
            folder = top / "Vessel_segmentation_annotations" / video
            name = f"{prefix}_{901 + number:05d}"
            draw.save(folder / f"images/{name}.png", frame)
            draw.save(folder / f"masks_gt/{name}_mask.png", mask)
            draw.save(folder / f"predicted_mask/{name}_mask.png", draw.white(fov))
            draw.save(folder / f"masks_gt/{name}_binary.tif", draw.white(fov))
    for number in (851, 900):
        draw.save(
            top / f"Vessel_registration_unannotated_clips/video01/images/anon001_{number:05d}.png", frame
        )
