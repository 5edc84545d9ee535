"""Datasets of a user's own in standard formats: three files are written, and `build` takes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result

from medshards.curate.cli.imports import import_
from medshards.curate.listing import list_download
from medshards.curate.sample import Sample
from medshards.curate.source import Own, get_source
from tests.samples import samples_of

SIZE = (40, 50)  # height, width
SQUARES = {"p01_a": (5, 5, 10), "p01_b": (8, 20, 12), "p02_a": (3, 30, 6)}  # top, left, side
LABELS = "dataset: mine\nexhaustive: true\nlabels:\n"
LABELS += "  tumour: {concept: breast_tumor, value: 1}\n  nothing: {ignore: true, value: 0}\n"
SAID = {"title": "Mine", "modality": "Ultrasound", "licence": "ours", "homepage": "https://example.org"}
SAID |= {"citation": "us, 2026", "group": r"(p\d+)_"}


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def corners(top: int, left: int, side: int) -> list[tuple[int, int]]:
    return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, SIZE, np.uint8)).save(path)


def write_coco(root: Path) -> None:
    for name in SQUARES:
        picture(root / f"images/{name}.png")
    value: dict[str, Any] = {"categories": [{"id": 7, "name": "tumour"}], "images": [], "annotations": []}
    for number, (name, place) in enumerate(SQUARES.items()):
        value["images"].append(
            {"id": number, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]}
        )
        ring = [float(n) for corner in corners(*place) for n in corner]
        value["annotations"].append(
            {"id": number, "image_id": number, "category_id": 7, "segmentation": [ring], "iscrowd": 0}
        )
    (root / "annotations").mkdir()
    (root / "annotations/instances_train.json").write_text(json.dumps(value))


def write_yolo(root: Path) -> None:
    for name, place in SQUARES.items():
        picture(root / f"images/train/{name}.png")
        parts = [f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in corners(*place)]
        (root / "labels/train").mkdir(parents=True, exist_ok=True)
        (root / f"labels/train/{name}.txt").write_text(f"0 {' '.join(parts)}\n")
    picture(root / "images/train/p03_empty.png")
    picture(root / "images/train/p04_empty.png")
    (root / "labels/train/p04_empty.txt").write_text("")
    (root / "data.yaml").write_text("train: images/train\nnames: [tumour]\n")


def write_labelme(root: Path) -> None:
    for name, place in SQUARES.items():
        picture(root / f"{name}.png")
        shape = {"label": "tumour", "points": corners(*place), "shape_type": "polygon"}
        value = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": [shape]}
        (root / f"{name}.json").write_text(json.dumps(value))


def write_pairs(root: Path, white: int) -> None:
    for name, place in SQUARES.items():
        picture(root / f"images/{name}.png")
        (root / "masks").mkdir(exist_ok=True)
        PIL.Image.fromarray((square(*place) * white).astype(np.uint8)).save(root / f"masks/{name}.png")


def write_npz(root: Path) -> None:
    for name, place in SQUARES.items():
        image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
        np.savez_compressed(root / f"{name}.npz", imgs=image, gts=square(*place).astype(np.uint8))


PATHS = ["--images", "images/{name}.png", "--masks", "masks/{name}.png", "--instances", "native"]
FORMATS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "coco": (write_coco, ["--split", r"instances_(\w+)"]),
    "yolo-seg": (write_yolo, ["--split", r"images/(\w+)/"]),
    "labelme": (write_labelme, []),
    "pairs": (lambda root: write_pairs(root, 255), PATHS),
    "labelmap": (lambda root: write_pairs(root, 1), PATHS),
    "medsam-npz": (write_npz, ["--instances", "native"]),
}


def run(folder: Path, form: str, *more: str, **said: str) -> Result:
    labels = folder / "labels.yaml"
    labels.write_text(LABELS)
    options = [part for name, value in said.items() for part in (f"--{name}", value)]
    arguments = [str(folder / "data"), "--format", form, "--slug", "mine", "--out", str(folder / "mine")]
    get_source.cache_clear()  # an earlier test may have had a folder of this name
    return CliRunner().invoke(import_, [*arguments, "--labels", str(labels), *options, *more])


def load(folder: Path) -> dict[str, Sample]:
    """The samples of the imported dataset by the stem of their image."""
    own = Own(folder / "mine/converter.py", folder / "mine/labels.yaml")
    get_source.cache_clear()
    source = get_source("mine", own)
    cases = list_download(source, folder / "data").cases
    found: dict[str, Sample] = {}
    for case in cases:
        (found[case.files["image"].stem],) = samples_of(source, case)
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_every_object_is_read_where_it_was_drawn(tmp_path: Path, form: str) -> None:
    write, more = FORMATS[form]
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    result = run(tmp_path, form, *more, **SAID)
    assert result.exit_code == 0, result.output
    samples = load(tmp_path)
    assert samples.keys() >= SQUARES.keys()
    for name, place in SQUARES.items():
        (instance,) = samples[name].instances
        truth = square(*place)
        found = instance.region.mask(SIZE)
        if form == "labelme":  # there the outline belongs to the object (docs of its reader)
            assert found[truth].all()
            assert np.count_nonzero(found) == (place[2] + 1) ** 2
        else:
            assert (found == truth).all()
        assert samples[name].group == name[:3]
        assert samples[name].official_split == ("train" if "--split" in more else None)
    empty = {name for name, sample in samples.items() if not sample.instances}
    assert empty == ({"p03_empty", "p04_empty"} if form == "yolo-seg" else set())


@pytest.mark.parametrize("missing", SAID)
def test_what_the_files_cannot_say_is_asked_for_by_name(tmp_path: Path, missing: str) -> None:
    (tmp_path / "data").mkdir()
    write_coco(tmp_path / "data")
    result = run(tmp_path, "coco", **{name: text for name, text in SAID.items() if name != missing})
    assert result.exit_code == 2
    assert f"--{missing}: " in result.output
    assert not (tmp_path / "mine").exists()


def test_without_a_label_file_the_labels_are_shown(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_coco(tmp_path / "data")
    arguments = [
        str(tmp_path / "data"),
        "--format",
        "coco",
        "--slug",
        "mine",
        "--out",
        str(tmp_path / "mine"),
    ]
    result = CliRunner().invoke(import_, arguments)
    assert result.exit_code == 2
    assert '"tumour": CONCEPT' in result.output


def test_an_image_without_group_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_coco(tmp_path / "data")
    result = run(tmp_path, "coco", **SAID | {"group": r"(p01)_"})
    assert result.exit_code == 1
    assert "images/p02_a.png: no_group" in result.output
    assert "2 cases in 1 groups" in result.output


def test_a_label_that_the_label_file_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_coco(tmp_path / "data")
    table = tmp_path / "data/annotations/instances_train.json"
    table.write_text(table.read_text().replace("tumour", "cyst"))
    assert run(tmp_path, "coco", **SAID).exit_code == 0  # nothing is decoded yet
    with pytest.raises(Exception, match="unknown_label"):
        load(tmp_path)


@pytest.mark.parametrize("form", ["coco", "yolo-seg", "labelme", "nnunet", "medsam-npz"])
def test_a_folder_without_the_format_is_refused(tmp_path: Path, form: str) -> None:
    picture(tmp_path / "data/a.png")
    result = run(tmp_path, form, **SAID)
    assert result.exit_code == 1
    assert "not_recognised" in result.output


def test_a_slug_that_is_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_coco(tmp_path / "data")
    result = run(tmp_path, "coco", **SAID | {"homepage": "nowhere"})
    assert result.exit_code == 1
    assert "mine.homepage" in result.output
    assert not (tmp_path / "mine").exists()
