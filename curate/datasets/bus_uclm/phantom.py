"""BUS-UCLM: colour masks, INFO.csv with byte-order mark and an answer "Y", cropped RGBA images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (606, 856)
GREEN, RED = (0, 255, 0), (255, 0, 0)
EXPECTED = Expected(samples=8, concepts={"benign_breast_lesion": 6, "malignant_breast_lesion": 2})


def write(root: Path, rng: np.random.Generator) -> None:
    """Eight images of five patients, six lesions of which one image has two; two images are cropped."""
    folder = root / "BUS-UCLM Breast ultrasound lesion segmentation dataset/BUS-UCLM"
    rows = ["Image;Resolution;Label;Doppler;Marks;Combined"]
    for name, label, lesions, doppler in (
        ("ALWI_000", "Benign", 1, "No"),
        ("ALWI_001", "Normal", 0, "No"),
        ("ALWI_011", "Benign", 2, "Yes"),
        ("CHCO_000", "Malignant", 1, "No"),
        ("COPE_004", "Benign", 1, "Y"),
        ("MENE_002", "Malignant", 1, "No"),
    ):
        masks = draw.blobs(rng, SIZE, lesions, (30, 70))
        _write_mask(folder / f"masks/{name}.png", masks, RED if label == "Malignant" else GREEN)
        draw.save(folder / f"images/{name}.png", _picture(masks, SIZE))
        rows.append(f"{name}.png;856x606;{label};{doppler};No;No")
    for name, (height, width) in (("HESN_000", (468, 608)), ("HESN_003", (485, 792))):
        top, left = 514 - height, (856 - width) // 2
        lesion = draw.ellipse(SIZE, (150, 430), (40, 60))
        _write_mask(folder / f"masks/{name}.png", [lesion], GREEN)
        crop = lesion[top : top + height, left : left + width]
        alpha = np.full((height, width, 1), 255, np.uint8)
        draw.save(folder / f"images/{name}.png", np.dstack([_picture([crop], (height, width)), alpha]))
        rows.append(f"{name}.png;856x606;Benign;No;Yes;No")
    draw.text(folder / "INFO.csv", "\ufeff" + "\n".join(rows) + "\n")


def _write_mask(path: Path, masks: list[draw.Mask], color: tuple[int, int, int]) -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for mask in masks:
        pixels[mask] = color
    draw.save(path, pixels)


def _picture(masks: list[draw.Mask], size: tuple[int, int]) -> np.ndarray:
    """Grey tissue with dark lesions, without noise: the native frames are large, the phantom small."""
    rows = np.linspace(150, 60, size[0]).round().astype(np.uint8)
    image = np.repeat(rows[:, None], size[1], axis=1)
    for mask in masks:
        image[mask] = 30
    return np.stack([image] * 3, axis=2)
