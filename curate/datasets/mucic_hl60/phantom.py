"""MUCIC HL60: files of one name in every folder, touching nuclei told apart by id, granulocytes that are not read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (40, 48)
EXPECTED = Expected(samples=6, concepts={"cell_nucleus": 18})


def write(root: Path, rng: np.random.Generator) -> None:
    """Volumes of four slices; in the inner two each of three nuclei is cut, two of which touch."""
    ids = np.zeros((4, *SIZE), np.uint16)
    for number, column in ((3, 10), (20, 24), (7, 40)):  # half axes of 7: the first two touch at column 17
        ids[1:3, draw.ellipse(SIZE, (20, column), (7, 7 if column < 40 else 5))] = number
    for folder in ("HL60_LowNoise_C75", "HL60_HighNoise_C75", "HL60_LowNoise_C00", "Granulocytes_LowNoise"):
        sigma = 12 if "High" in folder else 3
        slices = [draw.picture(rng, SIZE, [s > 0], [180], 30, sigma) for s in ids]
        (root / f"{folder}_3D_HDF5").mkdir(parents=True)
        for kind, volume in (("final", np.stack(slices)), ("labels", ids)):
            with h5py.File(root / f"{folder}_3D_HDF5/image-{kind}_0004.h5", "w") as handle:
                handle.create_dataset("Image", data=volume, chunks=(1, *SIZE), compression="gzip")
