"""A corpus as COCO and SA-Co: every instance, pixel by pixel, as the reference library reads them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import medshards
from medshards.shards.cli.export import export
from tests.shards.conftest import SLUGS


def run(corpus: Path, form: str, folder: Path) -> Any:
    """Export a corpus; the counts that are told."""
    result = CliRunner().invoke(export, [str(corpus), "--to", form, "--out", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def coco(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of phantoms as COCO."""
    folder = tmp_path_factory.mktemp("coco") / "out"
    run(corpus, "coco", folder)
    return folder


def truth(corpus: Path, split: str) -> dict[str, list[tuple[str, np.ndarray]]]:
    """(prompt, mask) of every instance of a split, by sample."""
    return {
        sample.name: [(text, mask) for text, masks in sample.masks.items() for mask in masks]
        for sample in medshards.open(corpus, split)
    }


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_reference_library_reads_every_instance_as_it_is(corpus: Path, coco: Path, split: str) -> None:
    reference = pytest.importorskip("pycocotools.coco", reason="needs pycocotools (extra dev)")
    read = reference.COCO(str(coco / f"annotations/instances_{split}.json"))
    expected = truth(corpus, split)
    assert sorted(f"{i['dataset']}/{i['key']}" for i in read.imgs.values()) == sorted(expected)
    for image in read.imgs.values():
        picture = PIL.Image.open(coco / "images" / image["file_name"])
        assert picture.size == (image["width"], image["height"])
        found = read.loadAnns(read.getAnnIds(image["id"]))
        masks = expected[f"{image['dataset']}/{image['key']}"]
        assert len(found) == len(masks)
        for annotation in found:
            name, mask = read.cats[annotation["category_id"]]["name"], read.annToMask(annotation)
            assert any(name == text and (mask == own).all() for text, own in masks)
            assert annotation["area"] == np.count_nonzero(mask)
            assert list(reference.maskUtils.toBbox(annotation["segmentation"])) == annotation["bbox"]


def test_whose_data_it_is_goes_with_it(coco: Path) -> None:
    attribution = (coco / "ATTRIBUTION.md").read_text()
    assert all(f"(`{slug}`)" in attribution for slug in SLUGS)
    told = json.loads((coco / "annotations/instances_train.json").read_bytes())
    licences = {each["id"]: each["name"] for each in told["licenses"]}
    assert all(licences[image["license"]].startswith(image["dataset"]) for image in told["images"])


def test_phrases_are_asked_for_where_their_answer_is_known(corpus: Path, tmp_path: Path) -> None:
    run(corpus, "saco", tmp_path / "saco")
    pairs: Counter[bool] = Counter()
    for split in ("train", "val", "test"):
        told = json.loads((tmp_path / f"saco/saco_{split}.json").read_bytes())
        expected = {
            (sample.name, text) for sample in medshards.open(corpus, split) for text in sample.prompts
        }
        positive = {annotation["image_id"] for annotation in told["annotations"]}
        found = {
            (f"{i['dataset']}/{i['key']}", i["text_input"]) for i in told["images"] if i["id"] in positive
        }
        assert found == expected
        absent = {s.name: len(s.record["absent"]) for s in medshards.open(corpus, split)}
        assert sum(absent.values()) == len(told["images"]) - len(positive)
        pairs.update(image["id"] in positive for image in told["images"])
        for annotation in told["annotations"]:
            assert all(0 <= number <= 1 for number in (*annotation["bbox"], annotation["area"]))
    assert pairs[True] > 0
    assert pairs[False] > 0


def test_every_category_of_a_file_for_training_was_looked_for_in_every_image(
    corpus: Path, tmp_path: Path
) -> None:
    run(corpus, "saco", tmp_path / "saco")
    records = {s.name: s.record for split in ("train", "val", "test") for s in medshards.open(corpus, split)}
    seen: list[str] = []
    instances = 0
    for path in sorted((tmp_path / "saco/train").glob("*.json")):
        told = json.loads(path.read_bytes())
        instances += len(told["annotations"])
        for image in told["images"]:
            record = records[f"{image['dataset']}/{image['key']}"]
            seen.append(f"{image['dataset']}/{image['key']}")
            known = {*record["concepts"], *record["absent"]}
            assert {each["concept"] for each in told["categories"]} == known
    assert sorted(seen) == sorted(records)
    assert instances == sum(len(record["instances"]) for record in records.values())


def test_nothing_that_is_there_is_written_over(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    result = CliRunner().invoke(export, [str(corpus), "--to", "coco", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "choose another folder" in result.output
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.txt"]
