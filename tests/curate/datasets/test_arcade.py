"""ARCADE: regions by image and not by id, listed images may be absent, the syntax task stays out."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.arcade.phantom import REGIONS
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("arcade")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("arcade", tmp_path)
    return tmp_path / "arcade"


def test_real_samples(real: Path) -> None:
    listing = list_download(SOURCE, real / "arcade")
    assert listing.cases
    listed = there = 0
    for annotations in real.glob("**/stenosis/*/annotations/*.json"):
        content = json.loads(annotations.read_text())
        listed += len(content["images"])
        there += len(list((annotations.parents[1] / "images").glob("*.png")))
    assert len(listing.cases) == there
    assert [r["code"] for r in listing.rejects] == ["missing_image"] * (listed - there)
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        split, stem = case.key.split("-")[1:]
        assert (case.split, case.files["image"].stem) == (split, stem)
        content = json.loads(case.files["annotations"].path.read_text())
        (number,) = [i["id"] for i in content["images"] if i["file_name"] == f"{stem}.png"]
        regions = [a for a in content["annotations"] if a["image_id"] == number]
        assert len(sample.instances) == len(regions), case.key
        for instance, region in zip(sample.instances, regions, strict=True):
            assert instance.concept == "coronary_artery_stenosis"
            x, y, w, h = instance.region.bbox
            bx, by, bw, bh = region["bbox"]
            assert max(abs(x - bx), abs(y - by), abs(x + w - bx - bw), abs(y + h - by - bh)) <= 1.5
            # the file's area is the polygon's; pixels on the boundary add to it
            assert 0.9 < instance.area / region["area"] < 1.2, case.key
        assert sample.concepts is None
        assert not SOURCE.labels.exhaustive


def test_real_frames_that_go_wrong_by_id(real: Path) -> None:
    """In train, annotation ids occur twice; in val, the image id is not the file's number."""
    found = samples_at(SOURCE, real)
    for key, count in {"train-169": 1, "train-433": 1, "train-780": 2, "train-218": 0, "val-171": 8}.items():
        if f"stenosis-{key}" in found:
            assert len(found[f"stenosis-{key}"].instances) == count, key


def test_regions_go_to_the_frames_that_their_file_names(phantom: Path) -> None:
    counts = {key: len(sample.instances) for key, sample in samples_at(SOURCE, phantom).items()}
    assert counts == {
        f"stenosis-{split}-{stem}": count
        for split, frames in REGIONS.items()
        for stem, (_, count) in frames.items()
    }


def test_area_of_a_circle(phantom: Path) -> None:
    for sample in samples_at(SOURCE, phantom).values():
        for instance in sample.instances:
            assert abs(instance.area - np.pi * 81) < 15


def test_syntax_task_is_passed_over(phantom: Path) -> None:
    assert list_download(SOURCE, phantom).skips == [
        ("syntax/train/annotations/train.json", "syntax task, no part of this dataset")
    ]


@pytest.mark.parametrize("inside", ["submission", "."])
def test_layout_of_other_copies(phantom: Path, tmp_path: Path, inside: str) -> None:
    target = tmp_path / "copy/arcade" / inside
    target.mkdir(parents=True)
    for task in ("stenosis", "syntax"):
        shutil.move(phantom / task, target / task)
    (target / "stenosis/train/labels").mkdir()
    (target / "stenosis/train/labels/1.txt").write_text("0 0.1 0.1 0.2 0.2\n")
    assert len(samples_at(SOURCE, tmp_path / "copy")) == 9


def test_older_record_gives_the_same_samples(phantom: Path, tmp_path: Path) -> None:
    new = samples_at(SOURCE, phantom)
    older = tmp_path / "older/arcade_challenge_datasets"
    names = {
        "train": ("dataset_phase_1/stenosis_dataset/sten_train", "sten_train"),
        "val": ("dataset_phase_1/stenosis_dataset/sten_val", "sten_val"),
        "test": ("dataset_final_phase/test_cases_stenosis", "instances_default"),
    }
    for split, (folder, name) in names.items():
        shutil.copytree(phantom / "stenosis" / split, older / folder)
        (older / folder / f"annotations/{split}.json").rename(older / folder / f"annotations/{name}.json")
    shutil.copytree(phantom / "syntax/train", older / "dataset_phase_1/segmentation_dataset/seg_train")
    old = samples_at(SOURCE, tmp_path / "older")
    assert old.keys() == new.keys()
    assert {k: [i.region.bbox for i in s.instances] for k, s in old.items()} == {
        k: [i.region.bbox for i in s.instances] for k, s in new.items()
    }
    assert len(list_download(SOURCE, tmp_path / "older").skips) == 1


def test_images_and_list_must_agree(phantom: Path) -> None:
    images = phantom / "stenosis/train/images"
    (images / "2.png").rename(images / "99.png")
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_image", "stenosis/train/images/2.png"),
        ("missing_mask", "stenosis/train/images/99.png"),
    }


def test_size_and_category_must_agree(phantom: Path) -> None:
    PIL.Image.new("L", (50, 96)).save(phantom / "stenosis/val/images/1.png")
    with pytest.raises(
        Reject,
        match=r"val/images/1\.png: size_mismatch: has 50 x 96 px, .*val\.json lists it with 96 x 96 px",
    ):
        samples_at(SOURCE, phantom)
    file = phantom / "stenosis/val/annotations/val.json"
    file.write_text(file.read_text().replace('"category_id": 26', '"category_id": 27'))
    PIL.Image.new("L", (96, 96)).save(phantom / "stenosis/val/images/1.png")
    with pytest.raises(Reject, match="unknown_label: label 'category 27'"):
        samples_at(SOURCE, phantom)


def test_one_bad_annotation_costs_its_image_and_a_crowd_is_no_instance(phantom: Path) -> None:
    """A box without outline, an annotation of an image that was deleted, and several vessels marked as one."""
    file = phantom / "stenosis/test/annotations/test.json"
    whole = list_download(get_source("arcade"), phantom)
    content = json.loads(file.read_text())
    first = content["annotations"][0]
    spoilt = next(i["file_name"] for i in content["images"] if i["id"] == first["image_id"])
    other = next(a for a in content["annotations"] if a["image_id"] != first["image_id"])
    of_other = [a for a in content["annotations"] if a["image_id"] == other["image_id"]]
    crowded = next(i["file_name"] for i in content["images"] if i["id"] == other["image_id"])
    del first["segmentation"]
    other["iscrowd"] = 1
    content["annotations"].append({**other, "id": 77, "image_id": 12345})
    file.write_text(json.dumps(content))
    listing = list_download(get_source("arcade"), phantom)
    assert [(r["code"], "annotation 77" in r["message"]) for r in listing.rejects] == [
        ("bad_annotations", True)
    ]
    assert len(listing.cases) == len(whole.cases)
    refused = []
    for case in listing.cases:
        try:
            (sample,) = samples_of(get_source("arcade"), case)
        except Reject as reject:
            refused.append((case.files["image"].path.name, reject))
            continue
        if case.key == f"stenosis-test-{Path(crowded).stem}":
            assert sample.lost == {"crowd regions": 1}
            assert len(sample.instances) == len(of_other) - 1
    ((name, why),) = refused
    assert (name, why.code) == (spoilt, "missing_mask")
    assert why.file.endswith(f"test/images/{spoilt}")
    assert f"annotation {first['id']} has no segmentation" in why.message
