"""UroCell: headers that contradict each other, a blank strip, float labels, missing folders, an empty Golgi file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medshards.curate.phantoms import Expected, draw

SHAPE = (24, 8, 20)  # third, second and first stored axis; slices lie across the second
EXPECTED = Expected(
    samples=22,
    concepts={"mitochondrion": 28, "endolysosome": 14, "fusiform_vesicle": 6, "golgi_apparatus": 16},
    skipped=3,
)
NO_UNIT, ODD = np.diag([-1.0, 1, 1, 1]), np.diag([-5.76e7, -5.76e7, 5.76e7, 1])  # as found in the label files


def write(root: Path, rng: np.random.Generator) -> None:
    """Two blocks with two mitochondria and a lysosome in each slice; two with Golgi alone, of which one holds none."""
    folder = root / "UroCell-master"
    plane = SHAPE[0], SHAPE[2]
    a, b, c, d = (draw.ellipse(plane, center, (3, 3)) for center in ((6, 5), (6, 14), (17, 5), (17, 14)))
    for block in ("fib1-0-0-0", "fib1-1-0-3", "fib1-2-2-3", "fib1-2-3-0"):
        slices = [draw.picture(rng, plane, [a, b, c, d], [60, 60, 90, 120], 180) for _ in range(SHAPE[1])]
        image = np.stack(slices, axis=1).astype(np.float32)
        if block == "fib1-0-0-0":
            image[:, :2] = 0  # labels go on where the image has no data
        save(folder / f"data/{block}.nii.gz", image, np.eye(4))
        if block in ("fib1-0-0-0", "fib1-1-0-3"):
            save(folder / f"mito/instance/{block}.nii.gz", stack(a + 2 * b, np.int16), ODD)
            save(folder / f"mito/binary/{block}.nii.gz", stack(a | b, np.float32), ODD)
            save(folder / f"mito/branched/{block}.nii.gz", stack(a + 2 * b, np.int16), ODD)
            save(folder / f"lyso/binary/{block}.nii.gz", stack(c, np.float32), ODD)
        if block == "fib1-0-0-0":
            save(folder / f"fv/instance/{block}.nii.gz", stack(7 * d, np.float64), NO_UNIT)
        else:
            golgi = d & (block != "fib1-2-3-0")
            save(folder / f"golgi/approximate/binary/{block}.nii.gz", stack(golgi, np.int8), NO_UNIT)
        if block == "fib1-2-2-3":
            save(folder / f"golgi/precise/binary/{block}.nii.gz", stack(d & ~a, np.int16), ODD)
    draw.text(folder / "mito/mesh/fib1-0-0-0.obj", "version https://git-lfs.github.com/spec/v1\n")


def stack(plane: NDArray[Any], dtype: type) -> NDArray[Any]:
    """The same labels in every slice."""
    return np.repeat(np.asarray(plane)[:, None], SHAPE[1], axis=1).astype(dtype)


def save(path: Path, array: NDArray[Any], affine: NDArray[Any]) -> None:
    """Write an array in the order of the file (third, second, first axis)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T, affine), path)
