"""CVC-ClinicDB: the official folders, one with a blank, plain numbers, masks with dark values outside the view.

The official images are TIFFs that declare themselves grey and hold three samples a pixel, in 18 strips.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from medshards.curate.phantoms import Expected, draw

SIZE = (72, 96)  # a quarter of the real one in each direction
STRIPS = 18
EXPECTED = Expected(samples=6, concepts={"polyp": 7})


def write(root: Path, rng: np.random.Generator) -> None:
    """Six frames of four sequences, the last one with two polyps; a speck of 6 px; grey and RGB masks."""
    view = draw.ellipse(SIZE, (36, 42), (35, 41))
    for number in (1, 2, 25, 26, 200, 612):
        polyps = draw.blobs(rng, SIZE, 2 if number == 612 else 1, (5, 10))
        image = draw.picture(
            rng, SIZE, [view, *polyps], [(150, 60, 50), (190, 90, 80)], (11, 11, 11), noise=0
        )
        mask = draw.white(np.logical_or.reduce(polyps))
        mask[~view & (mask == 0)] = 11  # as in frames 1 to 5 and 8
        mask[0, :6] = 255  # below the floor
        mask = mask if number % 2 else np.stack([mask] * 3, axis=2)
        folder = root / "CVC-ClinicDB"
        save(folder / f"Original/{number}.tif", image)
        draw.save(folder / f"Ground Truth/{number}.tif", mask, compression="tiff_lzw")


def save(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB picture as the authors do, in 18 strips of equal height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=len(image) // STRIPS, metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags["PhotometricInterpretation"].valueoffset
    data[place : place + 2] = (1).to_bytes(2, "little")  # grey, where zero is black
    path.write_bytes(data)
