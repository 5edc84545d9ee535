"""Plain folders, YOLO and nnU-Net: what is written is what is in the corpus, or is counted."""

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

import medshards
from medshards.curate.formats.pictures import polygons
from medshards.shards.cli.export import export
from medshards.shards.export.outlines import outline
from medshards.shards.read.samples import Sample

SPLITS = ("train", "val", "test")


def run(corpus: Path, form: str, folder: Path) -> Result:
    return CliRunner().invoke(export, [str(corpus), "--to", form, "--out", str(folder), "--json"])


@pytest.fixture(scope="module")
def samples(corpus: Path) -> dict[str, Sample]:
    """All samples of the corpus by name."""
    return {sample.name: sample for split in SPLITS for sample in medshards.open(corpus, split)}


def test_folders_hold_every_object(corpus: Path, samples: dict[str, Sample], tmp_path: Path) -> None:
    assert run(corpus, "folders", tmp_path / "out").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "out/instances.csv").open()))
    assert len(rows) == sum(len(sample.record["instances"]) for sample in samples.values())
    for row in rows:
        sample = samples[f"{row['dataset']}/{row['key']}"]
        (instance,) = [i for i in sample.record["instances"] if i["id"] == int(row["number"])]
        mask = np.asarray(PIL.Image.open(tmp_path / "out" / row["mask"]))
        assert ((mask == 255) == sample.stored.mask(instance)).all()
        assert PIL.Image.open(tmp_path / "out" / row["image"]).size == mask.shape[::-1]
        assert row["split"] == sample.record["split"]


def test_yolo_polygons_filled_are_the_masks(corpus: Path, samples: dict[str, Sample], tmp_path: Path) -> None:
    assert run(corpus, "yolo-seg", tmp_path / "out").exit_code == 0
    names = yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"]
    for sample in samples.values():
        text = (tmp_path / f"out/labels/{sample.record['split']}/{sample.name}.txt").read_text()
        height, width = sample.record["size"]
        lines = [line.split() for line in text.splitlines()]
        assert len(lines) == len(sample.record["instances"])
        for (number, *numbers), instance in zip(lines, sample.record["instances"], strict=True):
            assert names[int(number)] == instance["text"]
            corners = np.array(numbers, float).reshape(-1, 2) * (width, height)
            found = polygons.fill(corners, (height, width)).mask((height, width))
            assert (found == sample.stored.mask(instance)).all()


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_an_outline_filled_is_the_mask(mask: np.ndarray) -> None:
    corners, count = outline(mask)
    assert (count > 0) == mask.any()
    if count:
        assert (polygons.fill(corners, mask.shape).mask(mask.shape) == mask).all()


def test_nnunet_has_every_pixel_or_counts_it(
    corpus: Path, samples: dict[str, Sample], tmp_path: Path
) -> None:
    result = run(corpus, "nnunet", tmp_path / "out")
    told = json.loads(result.stdout)
    covered = 0
    for folder in sorted((tmp_path / "out").glob("Dataset*")):
        slug = folder.name.partition("_")[2]
        labels = json.loads((folder / "dataset.json").read_bytes())["labels"]
        mine = [sample for sample in samples.values() if sample.record["dataset"] == slug]
        split = json.loads((folder / "splits_final.json").read_bytes())[0]
        assert {key: len(keys) for key, keys in split.items()} == {
            name: sum(sample.record["split"] == name for sample in mine) for name in ("train", "val")
        }
        for sample in mine:
            where = "Ts" if sample.record["split"] == "test" else "Tr"
            label = np.asarray(PIL.Image.open(folder / f"labels{where}/{sample.record['key']}.png"))
            for text, masks in sample.masks.items():
                missing = masks.any(axis=0) & (label != labels[text])
                covered += int(np.count_nonzero(missing))
                assert (label[missing] > 0).all()
            assert (
                (label > 0) == np.any([m.any(axis=0) for m in sample.masks.values()] or [label > 0], axis=0)
            ).all()
    assert sum(count for what, count in told["lost"].items() if what.startswith("px")) == covered
    assert (result.exit_code == 0) == (not told["lost"])
