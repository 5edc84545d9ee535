"""BTXRD: LabelMe files with a rectangle beside each polygon, in any order; normal images without; the Excel table."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from medshards.curate.datasets.btxrd.converter import PATIENT
from medshards.curate.phantoms import Expected, draw

SIZE = (120, 90)
LESIONS = {  # native label of each lesion, by image; an image without is normal
    1: ["osteochondroma", "osteochondroma"],
    2: ["osteochondroma"],  # another view of the same patient
    3: ["giant cell tumor"],
    4: ["other mt"],
    5: [],
    6: [],
    7: ["simple bone cyst"],
}
PATIENTS = {1: ("1", "12", "M", "tibia"), 2: ("1", "12", "M", "tibia"), 3: ("1", "12", "F", "tibia")}
EXPECTED = Expected(
    samples=7,
    concepts={
        "osteochondroma": 3,
        "giant_cell_tumor_of_bone": 1,
        "malignant_bone_tumor": 1,
        "simple_bone_cyst": 1,
    },
)


def write(root: Path, rng: np.random.Generator) -> None:
    """Seven radiographs of six patients, five of them with tumours."""
    folder = root / "BTXRD"
    head = ["image_id", *PATIENT, "tumor"]
    rows = [head]
    for number, labels in LESIONS.items():
        stem = f"IMG{number:06d}"
        name = f"{stem}.jpg" if number == 6 else f"{stem}.jpeg"
        bone = np.zeros(SIZE, bool)
        bone[:, 30:60] = True
        centres = [(45.0, 30.0 + 50 * n) for n in range(len(labels))]
        lumps = [draw.ellipse(SIZE, (y, x), (9, 9)) for x, y in centres]
        pixels = draw.picture(rng, SIZE, [bone, *lumps], [190, 120], background=40)
        draw.save(folder / "images" / name, pixels, quality=85)
        center, age, sex, part = PATIENTS.get(number, ("2", str(20 + number), "M", "femur"))
        facts = {"image_id": name, "center": center, "age": age, "gender": sex, part: "1"}
        rows.append([{**facts, "tumor": str(int(bool(labels)))}.get(column, "0") for column in head])
        if labels:
            draw.text(folder / f"Annotations/{stem}.json", _drawing(name, labels, centres, number % 2 == 0))
    workbook(folder / "dataset.xlsx", rows)


def _drawing(name: str, labels: list[str], centres: list[tuple[float, float]], polygons_first: bool) -> str:
    """A LabelMe file: of each lesion a circle of radius 9 px as polygon of 24 corners and its box."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    shapes = []
    for label, (x, y) in zip(labels, centres, strict=True):
        circle = np.stack([x + 9 * np.cos(angles), y + 9 * np.sin(angles)], axis=1).tolist()
        box = [[x + 9, y + 9], [x - 9, y - 9]]
        for kind, points in (("polygon", circle), ("rectangle", box)):
            facts: dict[str, Any] = {
                "group_id": None,
                "description": "",
                "shape_type": kind,
                "flags": {},
                "mask": None,
            }
            shapes.append({"label": label, "points": points, **facts})
    shapes.sort(key=lambda s: (s["shape_type"] == "rectangle") == polygons_first)
    size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    content: dict[str, Any] = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        **size,
    }
    return json.dumps(content, indent=2).replace("\n", "\r\n")


def workbook(path: Path, rows: list[list[str]]) -> None:
    """Write an Excel workbook of one sheet, all cells text."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(v)}</t></is></c>' for v in row) + "</row>"
        for row in rows
    )
    parts = {
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{cells}</sheetData></worksheet>",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            book.writestr(zipfile.ZipInfo(name), content)
