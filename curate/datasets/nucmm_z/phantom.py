"""NucMM: both species side by side, large ids with gaps, slices without a nucleus, whole volumes that are not read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (32, 32)
EXPECTED = Expected(samples=8, concepts={"cell_nucleus": 24})
BLOCKS = {
    "Zebrafish (NucMM-Z)": {"train": ["0000_0576_0768", "0000_0704_0832"], "val": ["0000_0640_0832"]},
    "Mouse (NucMM-M)": {"train": ["000_200_200"]},
}


def write(root: Path, rng: np.random.Generator) -> None:
    """Blocks of four slices, of which the inner two cut three nuclei."""
    for species, splits in BLOCKS.items():
        folder = root / species
        for split, origins in splits.items():
            for origin in origins:
                nuclei = draw.blobs(rng, SIZE, 3, (3, 4))
                ids = np.zeros((4, *SIZE), np.uint32)
                for number, nucleus in zip((5, 70001, 123456), nuclei, strict=True):
                    ids[1:3, nucleus] = number
                slices = [draw.picture(rng, SIZE, [s > 0], [90], 180) for s in ids]
                save(folder / f"Image/{split}/img_{origin}.h5", np.stack(slices))
                save(folder / f"Label/{split}/seg_{origin}.h5", ids)
        save(folder / "mask.h5", np.ones((4, *SIZE), np.uint8))
        draw.save(folder / "image.tif", draw.picture(rng, SIZE))


def save(path: Path, volume: np.ndarray) -> None:
    """Write a block as the authors do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("main", data=volume, compression="gzip")
