"""BUSI: names with blanks and brackets, 1-bit masks with stray pixels, extra masks (one RGBA), black RGB masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

EXPECTED = Expected(samples=9, concepts={"benign_breast_lesion": 6, "malignant_breast_lesion": 3})
EXTRA = {"benign (4)": 1, "benign (25)": 1}  # further masks of an image


def write(root: Path, rng: np.random.Generator) -> None:
    """Four benign images with six masks, three malignant, two normal; a stray text file."""
    folder = root / "Dataset_BUSI_with_GT"
    for name in ("benign (1)", "benign (4)", "benign (25)", "benign (437)"):
        _write_image(folder / "benign", name, 1 + EXTRA.get(name, 0), rng)
    for name in ("malignant (1)", "malignant (19)", "malignant (210)"):
        _write_image(folder / "malignant", name, 1, rng)
    for name in ("normal (1)", "normal (133)"):
        _write_image(folder / "normal", name, 0, rng)
    draw.text(folder / "benign/notes.txt", "stray")


def _write_image(folder: Path, name: str, lesions: int, rng: np.random.Generator) -> None:
    size = int(rng.integers(60, 70)), int(rng.integers(80, 95))
    masks = draw.blobs(rng, size, lesions, (6, 11))
    image = draw.picture(rng, size, masks, [40], 110)
    draw.save(folder / f"{name}.png", np.stack([image] * 3, axis=2))
    if not masks:
        draw.save(folder / f"{name}_mask.png", np.zeros((*size, 3), np.uint8))
    for number, mask in enumerate(masks):
        pixels = mask.copy()
        if name == "malignant (19)":
            pixels[0, 0] = True  # a stray pixel, part of the only lesion
        if name == "benign (4)" and number == 1:
            rgba = np.dstack([draw.white(mask)] * 3 + [np.full(size, 255, np.uint8)])
            draw.save(folder / f"{name}_mask_1.png", rgba)
        else:
            draw.save(folder / f"{name}_mask{f'_{number}' if number else ''}.png", pixels)
