"""MoNuSeg in the official archives: polygons that overlap and leave the image, a region of one point, a Mac's junk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medshards.curate.phantoms import Expected, draw

SIZE = (100, 120)
EXPECTED = Expected(samples=4, concepts={"cell_nucleus": 18})
CENTERS = [(20, 20), (20, 34), (60, 30), (70, 90), (0, 60)]  # (row, column); two touch or overlap, one leaves
RADIUS = 9.5


def write(root: Path, rng: np.random.Generator) -> None:
    """Three training images with five nuclei each, a test image with three."""
    train, test = root / "MoNuSeg 2018 Training Data", root / "MoNuSegTestData"
    for patient in ("A7-A13E", "B0-5710", "G9-6336"):
        name = f"TCGA-{patient}-01Z-00-DX1"
        save_image(train / f"Tissue Images/{name}.tif", rng, CENTERS, "tiff_lzw")
        short = '<Region Id="1" Type="0" NegativeROA="0"><Vertices><Vertex X="5" Y="5"/></Vertices></Region>'
        draw.text(train / f"Annotations/{name}.xml", xml(CENTERS, short))
        draw.text(train / f"__MACOSX/._{name}.xml", "junk")
    save_image(test / "TCGA-2Z-A9J9-01A-01-TS1.tif", rng, CENTERS[:3], "packbits")
    draw.text(test / "TCGA-2Z-A9J9-01A-01-TS1.xml", xml(CENTERS[:3]))


def polygon(center: tuple[float, float]) -> list[tuple[float, float]]:
    """A circle of 24 vertices (x, y) around a (row, column)."""
    angles = np.arange(24) * np.pi / 12
    return [(center[1] + RADIUS * np.cos(a), center[0] + RADIUS * np.sin(a)) for a in angles]


def xml(centers: Sequence[tuple[float, float]], more: str = "") -> str:
    """An ImageScope file with a region for each nucleus; all have one id, as ids are not reliable."""
    regions = "".join(
        '<Region Id="1" Type="0" NegativeROA="0"><Vertices>'
        + "".join(f'<Vertex X="{x:.3f}" Y="{y:.3f}"/>' for x, y in polygon(center))
        + "</Vertices></Region>"
        for center in centers
    )
    return (
        '<Annotations MicronsPerPixel="0.252000"><Annotation Id="1" Name="" Type="4" LineColor="65280"><Regions>'
        f"{regions}{more}</Regions></Annotation></Annotations>"
    )


def save_image(
    path: Path, rng: np.random.Generator, centers: Sequence[tuple[float, float]], compression: str
) -> None:
    """A picture in which the nuclei show."""
    nuclei = [draw.ellipse(SIZE, center, (9, 9)) for center in centers]
    draw.save(
        path, draw.picture(rng, SIZE, nuclei, [(90, 50, 140)], (230, 190, 215)), compression=compression
    )
