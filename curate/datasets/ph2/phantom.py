"""PH²: BMP files in folders of folders, 1-bit masks and one of 24 bits; colour classes and a JPEG are no labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (40, 54)
EXPECTED = Expected(samples=4, concepts={"skin_lesion": 4}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Four cases; the mask of IMD002 is a 24-bit picture, and the lesion of IMD437 fills the frame."""
    for name in ("IMD002", "IMD003", "IMD004", "IMD437"):
        lesion = (
            draw.ellipse(SIZE, (20, 27), (60, 60))
            if name == "IMD437"
            else draw.blobs(rng, SIZE, 1, (8, 14))[0]
        )
        folder = root / f"PH2Dataset/PH2 Dataset images/{name}"
        image = draw.picture(rng, SIZE, [lesion], [(90, 55, 45)], (205, 165, 150))
        draw.save(folder / f"{name}_Dermoscopic_Image/{name}.bmp", image)
        rgb = np.repeat(draw.white(lesion)[:, :, None], 3, axis=2)
        draw.save(folder / f"{name}_lesion/{name}_lesion.bmp", rgb if name == "IMD002" else lesion)
        draw.save(folder / f"{name}_roi/{name}_R1_Label4.bmp", draw.ellipse(SIZE, (20, 27), (4, 4)))
    draw.save(
        root / "PH2Dataset/PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.jpg", draw.white(~lesion)
    )
    draw.text(root / "PH2Dataset/PH2_dataset.txt", "||   Name ||   Histological Diagnosis ||\n")
