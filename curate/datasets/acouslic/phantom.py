"""ACOUSLIC-AI: a subject with two volumes, both grades of frames, empty frames between, a volume without a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.phantoms import Expected, draw

SIZE = (30, 40)
FRAMES = 7
EXPECTED = Expected(samples=9, concepts={"fetal_abdomen": 9}, skipped=1)
VOLUMES = {
    "2e99ee0e-506a-443b-8c16-e8a0619da2f7": ("000", True),
    "bfd442e7-9299-4890-ad3d-c9d5b6534cbc": ("001", True),
    "0199616b-bdeb-4119-97a3-a5a3571bd641": ("001", True),
    "f1fcabfc-f998-44c7-8420-c7a5ae5aaab7": ("002", False),
}


def write(root: Path, rng: np.random.Generator) -> None:
    """Volumes of seven frames, three of them with an abdomen: suboptimal, optimal (the largest), suboptimal."""
    folder = root / "acouslic-ai-train-set"
    rows = [
        "uuid,subject_id,sweep_1_ac_mm,sweep_2_ac_mm,sweep_3_ac_mm,sweep_4_ac_mm,sweep_5_ac_mm,sweep_6_ac_mm"
    ]
    for name, (subject, annotated) in VOLUMES.items():
        rows.append(f"{name},{subject},289.60885323200773,,,,,")
        shapes = [draw.ellipse(SIZE, (15, 20), (radius, radius)) for radius in (0, 0, 7, 9, 8, 0, 0)]
        frames = np.stack([draw.picture(rng, SIZE, [s], [120], 30) for s in shapes])
        masks = np.zeros((FRAMES, *SIZE), np.uint8)
        if annotated:
            for index, grade in ((2, 2), (3, 1), (4, 2)):
                masks[index, shapes[index]] = grade
        save_mha(folder / f"images/stacked_fetal_ultrasound/{name}.mha", frames, (0.28, 0.28, 0.28))
        save_mha(folder / f"masks/stacked_fetal_abdomen/{name}.mha", masks, (0.28, 0.28, 0.28))
    draw.text(folder / "circumferences/fetal_abdominal_circumferences_per_sweep.csv", "\n".join(rows) + "\n")


def save_mha(path: Path, array: NDArray[Any], spacing: tuple[float, ...] = ()) -> None:
    """Write an 8-bit array as an uncompressed MetaImage; spacing in the order of the file (columns first)."""
    fields = {
        "ObjectType": "Image",
        "NDims": str(array.ndim),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "ElementSpacing": " ".join(map(str, spacing)),
        "DimSize": " ".join(map(str, reversed(array.shape))),
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    header = "".join(f"{name} = {value}\n" for name, value in fields.items() if value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + array.tobytes())
