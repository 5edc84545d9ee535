"""STARE in the folders of its tars: gzipped files, labels that are P5 under the name .ppm, a second observer.

The pictures have the true size, since the converter refuses others; they are drawn without noise to stay small.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medshards.curate.phantoms import Expected, draw

SIZE = (605, 700)
EXPECTED = Expected(samples=4, concepts={"retinal_vessel": 4}, skipped=1)


def write(root: Path, rng: np.random.Generator) -> None:
    """Four labelled images, two of them labelled by both observers; one image outside the 20 with labels."""
    fov = draw.ellipse(SIZE, (302, 350), (280, 320))
    for name in ("im0001", "im0077", "im0239", "im0324"):
        vessels = draw.tree(rng, SIZE, thickness=7) & fov
        _save(root / f"stare-images/{name}.ppm.gz", _picture(rng, [fov, vessels]))
        _save(root / f"labels-ah/{name}.ah.ppm.gz", draw.white(vessels))
        if name in ("im0001", "im0077"):
            _save(root / f"labels-vk/{name}.vk.ppm.gz", draw.white(draw.tree(rng, SIZE) & fov))
    _save(root / "stare-images/im0006.ppm.gz", _picture(rng, [fov]))


def _picture(rng: np.random.Generator, masks: list[draw.Mask]) -> NDArray[np.uint8]:
    return draw.picture(rng, SIZE, masks, [(190, 120, 50), (130, 60, 30)], (4, 12, 4), noise=0)


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    """A gzipped P6 (colour) or P5 (grey) file; the header has a comment line or stands on one line, as in the data."""
    height, width = pixels.shape[:2]
    header = (
        f"P6\n# CREATOR: XV\n{width} {height}\n255\n" if pixels.ndim == 3 else f"P5 {width} {height} 255\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header.encode() + pixels.tobytes(), mtime=0))
