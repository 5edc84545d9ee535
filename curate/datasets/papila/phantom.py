"""PAPILA: contours as text, column before row, by two experts, for both eyes; overlays that are no images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (120, 160)
EYES = ("RET002OD", "RET002OS", "RET004OD", "RET005OS")
DISC = (60.0, 100.0, 24.0)  # row, column, radius in px of the disc that expert 1 draws
EXPECTED = Expected(samples=4, concepts={"optic_disc": 4, "optic_cup": 4})


def write(root: Path, rng: np.random.Generator) -> None:
    """Four eyes of three patients."""
    folder = root / "PapilaDB-PAPILA-17f8fa7746adb20275b5b6a0d99dc9dfe3007e9f"
    row, column, radius = DISC
    for eye in EYES:
        disc = draw.ellipse(SIZE, (row, column), (radius, radius))
        cup = draw.ellipse(SIZE, (row, column), (radius / 2, radius / 2))
        image = draw.picture(rng, SIZE, [disc, cup], [(230, 170, 90), (250, 220, 160)], (150, 70, 30))
        draw.save(folder / f"FundusImages/{eye}.jpg", image, quality=80)
        overlay = folder / f"ExpertsSegmentations/ImagesWithContours/Opht_cont_{eye}.jpg"
        draw.save(overlay, image, quality=20)
        for expert, scale in ((1, 1.0), (2, 1.2)):
            for label, size in (("disc", radius), ("cup", radius / 2)):
                name = f"ExpertsSegmentations/Contours/{eye}_{label}_exp{expert}.txt"
                draw.text(folder / name, _circle(row, column, size * scale, turns=1 if expert == 1 else -1))


def _circle(row: float, column: float, radius: float, turns: int) -> str:
    """40 corners of a circle, "   column   row" a line; expert 2 goes the other way round."""
    angles = turns * np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lines = (f"   {column + radius * np.cos(a):.7e}   {row + radius * np.sin(a):.7e}\n" for a in angles)
    return "".join(lines)
