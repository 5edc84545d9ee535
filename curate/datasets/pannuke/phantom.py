"""PanNuke: one fold; ids repeat across channels and are not contiguous; channel 5 is the background; an empty patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (32, 32)
TISSUES = ["Breast", "Bile-duct", "Colon"]
CHANNELS = (0, 0, 1, 2, 4)  # of the five nuclei of a patch
EXPECTED = Expected(
    samples=3,
    concepts={
        "neoplastic_cell_nucleus": 4,
        "inflammatory_cell_nucleus": 2,
        "connective_tissue_cell_nucleus": 2,
        "epithelial_cell_nucleus": 2,
    },
)


def write(root: Path, rng: np.random.Generator) -> None:
    """Two patches with five nuclei each, of which the first two share a channel, and one patch without any."""
    images, masks = np.zeros((3, *SIZE, 3), np.float16), np.zeros((3, *SIZE, 6), np.float32)
    masks[..., 5] = 1
    for row in range(3):
        nuclei = draw.blobs(rng, SIZE, 5 if row < 2 else 0, (2, 3))
        images[row] = draw.picture(rng, SIZE, nuclei, [(90, 40, 130)], (220, 170, 200))
        for number, nucleus in enumerate(nuclei):
            masks[row, nucleus, CHANNELS[number]] = 47 if number == 1 else 7
            masks[row, nucleus, 5] = 0
    folder = root / "Fold 1"
    for kind in ("images", "masks"):
        (folder / kind / "fold1").mkdir(parents=True)
    np.save(folder / "images/fold1/images.npy", images)
    np.save(folder / "images/fold1/types.npy", np.array(TISSUES, "<U13"))
    np.save(folder / "masks/fold1/masks.npy", masks)
    draw.text(folder / "README.md", "The masks are an array of 6 channels.\n")
