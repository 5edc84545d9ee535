"""MUCIC Colon Tissue: both noise levels of one phantom in files of one name; empty end slices; nuclei without ids."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (40, 48)
EXPECTED = Expected(samples=6, concepts={"cell_nucleus": 24})


def write(root: Path, rng: np.random.Generator) -> None:
    """Volumes of five slices, of which the first and the last are empty and the others cut four nuclei."""
    nuclei = draw.blobs(rng, SIZE, 4, (3, 5))
    labels = np.zeros((5, *SIZE), np.uint16)
    labels[1:4, np.logical_or.reduce(nuclei)] = 1  # foreground only: components are the nuclei
    for noise, sigma in (("Low", 3), ("High", 12)):
        slices = [draw.picture(rng, SIZE, [s > 0], [180], 30, sigma).astype(np.uint16) * 200 for s in labels]
        folder = root / f"ColonTissue_{noise}Noise_3D_HDF5"
        folder.mkdir(parents=True)
        for kind, volume in (("final", np.stack(slices)), ("labels", labels)):
            with h5py.File(folder / f"image-{kind}_0000.h5", "w", track_order=False) as handle:
                handle.create_dataset("Image", data=volume, chunks=(1, *SIZE), compression="gzip")
