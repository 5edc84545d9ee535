"""LabelMe files: shapes and image size are read, the picture inside is not, and damage is named."""

import json
from pathlib import Path

import pytest

from medshards.curate.formats.pictures import labelme
from medshards.curate.sample import Reject
from medshards.curate.tree import File


def write(folder: Path, **changes: object) -> File:
    shape = {
        "label": "cyst",
        "points": [[2, 1], [6, 1], [6, 4], [2, 4]],
        "shape_type": "polygon",
        "description": None,
    }
    content = {
        "version": "5.4.1",
        "shapes": [shape],
        "imageData": None,
        "imageHeight": 8,
        "imageWidth": 10,
        **changes,
    }
    path = folder / "a.json"
    path.write_bytes(json.dumps(content, indent=2).replace("\n", "\r\n").encode())
    return File("a.json", path)


def test_polygon_covers_its_outline(tmp_path: Path) -> None:
    file = write(tmp_path)
    drawing = labelme.read_labelme(file)
    assert drawing.size == (8, 10)
    (shape,) = drawing.shapes
    assert (shape.label, shape.kind) == ("cyst", "polygon")
    assert labelme.region(shape, drawing.size, file).bbox == (2, 1, 5, 4)


@pytest.mark.parametrize(
    "changes",
    [{"shapes": None}, {"imageWidth": None}, {"shapes": [{"label": "a"}]}, {"shapes": [{"points": [1]}]}],
)
def test_damage_is_named(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(Reject, match=r"a\.json: unreadable: is no LabelMe file"):
        labelme.read_labelme(write(tmp_path, **changes))


def test_polygon_that_covers_nothing_is_refused(tmp_path: Path) -> None:
    shapes = [{"label": "cyst", "points": [[50, 1], [60, 1], [60, 4]], "shape_type": "polygon"}]
    file = write(tmp_path, shapes=shapes)
    (shape,) = labelme.read_labelme(file).shapes
    with pytest.raises(Reject, match=r"a\.json: bad_annotations: cyst: a polygon spans"):
        labelme.region(shape, (8, 10), file)


def test_real_files(samples: Path) -> None:
    files = sorted((samples / "btxrd").glob("**/Annotations/*.json"))
    if not files:
        pytest.skip("no LabelMe file among the samples")
    for path in files:
        drawing = labelme.read_labelme(File(path.name, path))
        assert {s.kind for s in drawing.shapes} == {"polygon", "rectangle"}
        assert json.loads(path.read_text())["imageWidth"] == drawing.size[1]
