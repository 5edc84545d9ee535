"""BTXRD: polygons and no rectangles, normal images as negatives, runs of images as patients."""

import csv
import json
import shutil
from pathlib import Path

import PIL.Image
import pytest

from medshards.curate.datasets.btxrd.converter import PATIENT
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at

SOURCE = get_source("btxrd")
CONCEPTS = {
    "osteochondroma": "osteochondroma",
    "multiple osteochondromas": "multiple_osteochondromas",
    "simple bone cyst": "simple_bone_cyst",
    "giant cell tumor": "giant_cell_tumor_of_bone",
    "osteofibroma": "osteofibroma",
    "synovial osteochondroma": "synovial_osteochondroma",
    "other bt": "benign_bone_tumor",
    "osteosarcoma": "osteosarcoma",
    "other mt": "malignant_bone_tumor",
}


def shoelace(points: list[list[float]]) -> float:
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]]))) / 2


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("btxrd", tmp_path)
    return tmp_path / "BTXRD"


def test_real_samples(real: Path, tmp_path: Path) -> None:
    """Real annotations; where their images are absent, on plain images of the size they name."""
    files = sorted(real.glob("**/Annotations/*.json"))
    assert files
    for file in files:
        drawn = json.loads(file.read_text())
        shutil.copy(file, _made(tmp_path / "BTXRD/Annotations") / file.name)
        image = next(file.parents[1].glob(f"images/{file.stem}.*"), None)
        if image is not None:
            shutil.copy(image, _made(tmp_path / "BTXRD/images") / image.name)
        else:
            plain = PIL.Image.new("L", (drawn["imageWidth"], drawn["imageHeight"]))
            plain.save(_made(tmp_path / "BTXRD/images") / f"{file.stem}.jpeg")
    found = samples_at(SOURCE, tmp_path)
    assert set(found) == {f.stem for f in files}
    for file in files:
        drawn = json.loads(file.read_text())
        polygons = [s for s in drawn["shapes"] if s["shape_type"] == "polygon"]
        sample = found[file.stem]
        assert [i.concept for i in sample.instances] == [CONCEPTS[s["label"]] for s in polygons]
        for instance, shape in zip(sample.instances, polygons, strict=True):
            xs, ys = zip(*shape["points"], strict=True)
            x, y, w, h = instance.region.bbox
            assert max(abs(x - min(xs)), abs(y - min(ys)), abs(x + w - max(xs)), abs(y + h - max(ys))) <= 1.5
            length = sum(
                ((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5
                for (ax, ay), (bx, by) in zip(shape["points"], [*shape["points"][1:], shape["points"][0]])
            )
            # the outline adds up to half a pixel all around
            assert -0.1 * length < instance.area - shoelace(shape["points"]) < 0.8 * length
    if "IMG000798" in found:  # published area of both lesions together
        first, second = found["IMG000798"].instances
        size = found["IMG000798"].image.size
        assert (first.region.mask(size) | second.region.mask(size)).sum() == 2295


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_real_table_has_the_columns(real: Path) -> None:
    tables = sorted(real.glob("**/dataset*.csv"))
    if not tables:
        pytest.skip("no table among the samples")
    for table in tables:
        with table.open(newline="") as stream:
            assert {"image_id", "tumor", *PATIENT} <= set(next(csv.reader(stream)))


def test_rectangles_are_no_instances_whatever_the_order(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert [len(found[f"IMG{n:06d}"].instances) for n in range(1, 8)] == [2, 1, 1, 1, 0, 0, 1]
    for sample in found.values():
        for instance in sample.instances:  # circle of radius 9 px with its outline, not its box of 324 px
            assert 254 < instance.area < 254 + 57
        assert not sample.lost


def test_consecutive_views_of_one_patient_are_a_group(phantom: Path) -> None:
    groups = {key: sample.group for key, sample in samples_at(SOURCE, phantom).items()}
    assert groups["IMG000001"] == groups["IMG000002"] == "IMG000001"
    assert len(set(groups.values())) == 6


def test_exported_table_serves_as_well_and_none_leaves_images_alone(phantom: Path) -> None:
    before = {key: sample.group for key, sample in samples_at(SOURCE, phantom).items()}
    header = ["image_id", *PATIENT, "tumor"]
    (phantom / "dataset.xlsx").unlink()
    assert {sample.group for sample in samples_at(SOURCE, phantom).values()} == set(before)
    rows = [header]
    for key, group in before.items():
        rows.append([f"{key}.jpeg", "1", group, *["0"] * (len(PATIENT) - 2), "0"])
    (phantom / "dataset.csv").write_text("\ufeff" + "\n".join(",".join(r) for r in rows) + "\n")
    assert {key: sample.group for key, sample in samples_at(SOURCE, phantom).items()} == before


def test_a_gap_in_the_numbers_ends_a_run(phantom: Path) -> None:
    (phantom / "dataset.xlsx").unlink()
    columns = ",".join(["image_id", *PATIENT, "tumor"])
    same = ",".join(["0"] * (len(PATIENT) + 1))
    (phantom / "dataset.csv").write_text(
        f"{columns}\n" + "".join(f"IMG{n:06d}.jpeg,{same}\n" for n in (2, 1, 4, 5))
    )
    groups = {key: sample.group for key, sample in samples_at(SOURCE, phantom).items()}
    assert [groups[f"IMG{n:06d}"] for n in (1, 2, 4, 5)] == ["IMG000001"] * 2 + ["IMG000004"] * 2


@pytest.mark.parametrize("half", ["Annotations", "images"])
def test_a_doubled_folder_is_the_same_download(phantom: Path, half: str) -> None:
    before = {key: len(sample.instances) for key, sample in samples_at(SOURCE, phantom).items()}
    (phantom / half).rename(phantom / "inner")
    (phantom / half).mkdir()
    (phantom / "inner").rename(phantom / half / half)
    assert list_download(SOURCE, phantom).rejects == []
    assert {key: len(sample.instances) for key, sample in samples_at(SOURCE, phantom).items()} == before


def test_without_the_table_no_image_is_known_to_be_normal(phantom: Path) -> None:
    assert (
        samples_at(SOURCE, phantom)["IMG000005"].concepts is None
    )  # as the label file has it: all are absent
    (phantom / "dataset.xlsx").unlink()
    found = samples_at(SOURCE, phantom)
    assert found["IMG000005"].concepts == found["IMG000006"].concepts == ()


def test_tumour_of_the_table_without_annotation_is_no_negative(phantom: Path) -> None:
    (phantom / "Annotations/IMG000003.json").unlink()
    (phantom / "images/IMG000004.jpeg").unlink()
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_mask", "images/IMG000003.jpeg"),
        ("missing_image", "Annotations/IMG000004.json"),
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"giant cell tumor"', '"tumor"', "unknown_label: label 'tumor'"),
        ('"imageWidth": 90', '"imageWidth": 2048', "size_mismatch: it was drawn on 2048 x 120 px"),
        (
            '"polygon"',
            '"rectangle"',
            "bad_annotations: polygons and rectangles are expected; found rectangle",
        ),
        ('"rectangle"', '"circle"', "bad_annotations: .* found circle, polygon"),
    ],
)
def test_what_cannot_be_trusted_is_refused(phantom: Path, old: str, new: str, message: str) -> None:
    file = phantom / "Annotations/IMG000003.json"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(Reject, match=rf"IMG000003\.json: {message}"):
        samples_at(SOURCE, phantom)


def test_box_without_polygon_is_counted(phantom: Path) -> None:
    file = phantom / "Annotations/IMG000001.json"
    content = json.loads(file.read_text())
    content["shapes"].remove(next(s for s in content["shapes"] if s["shape_type"] == "polygon"))
    file.write_text(json.dumps(content))
    assert samples_at(SOURCE, phantom)["IMG000001"].lost == {"rectangles without polygon": 1}


def test_table_of_another_kind_is_refused(phantom: Path) -> None:
    (phantom / "dataset.xlsx").unlink()
    (phantom / "dataset.csv").write_text("image_id,label\nIMG000001.jpeg,1\n")
    with pytest.raises(Reject, match=r"dataset\.csv: unreadable: no column age, ankle-joint"):
        list_download(SOURCE, phantom)
