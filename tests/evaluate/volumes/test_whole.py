"""Whole volumes beside their slices: figures against a calculation on arrays, and an evaluation that goes on."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy import ndimage

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.evaluate.cli.evaluate import evaluate
from medshards.evaluate.dataset import open_datasets, truth_of
from medshards.evaluate.report.rows import Measured
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.read.decode import decode

SPACING = (3.0, 0.7, 0.8)  # mm, of the phantoms of BTCV
Masks = dict[str, dict[str, NDArray[np.bool_]]]  # volume → concept → D×H×W


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_phantom("btcv", folder / "raw")
    build_dataset(load_catalog()["btcv"], folder / "raw", folder / "corpus")
    write_corpus(folder / "corpus", "default", "none")
    return folder / "corpus"


@pytest.fixture(scope="module")
def truth(corpus: Path) -> Masks:
    found: Masks = defaultdict(dict)
    (dataset,) = open_datasets(corpus, split="train")
    for number in range(len(dataset.corpus)):
        sample = decode(dataset.corpus.read(number))
        for concept, mask in truth_of(sample).items():
            whole = found[sample.record["volume"]].setdefault(
                concept, np.zeros(sample.record["grid"]["shape"], bool)
            )
            whole[sample.record["slice"][0]] = mask
    return found


@pytest.fixture(scope="module")
def predictions(corpus: Path, truth: Masks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every organ one column aside; the aorta of one volume is not found."""
    folder = tmp_path_factory.mktemp("predictions")
    (dataset,) = open_datasets(corpus, split="train")
    affine = np.array(decode(dataset.corpus.read(0)).record["grid"]["affine"])
    for volume, masks in truth.items():
        for concept in dataset.texts:
            mask = masks.get(concept, np.zeros_like(masks["liver"]))
            moved = np.roll(mask, 1, axis=2) & ((volume, concept) != (min(truth), "aorta"))
            path = folder / concept / f"{volume}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(moved.T.astype(np.uint8), affine), path)
    return folder


def run(corpus: Path, predictions: Path, out: Path, *more: str) -> str:
    options = [
        "--data",
        str(corpus),
        "--checkpoint",
        str(predictions),
        "--split",
        "train",
        "--min-score",
        "0",
    ]
    result = CliRunner().invoke(evaluate, [*options, "--out", str(out), *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1))


def far(from_: NDArray[np.bool_], to: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distances in mm of the border voxels of one mask from those of another."""
    return ndimage.distance_transform_edt(~border(to), SPACING)[border(from_)]


def test_volumes_have_the_figures_of_their_arrays(
    corpus: Path, truth: Masks, predictions: Path, tmp_path: Path
) -> None:
    output = run(corpus, predictions, tmp_path / "report.json")
    assert "whole volumes" in output
    report = json.loads((tmp_path / "report.json").read_text())
    volumes = {sample["key"]: sample["rows"] for sample in report["samples"] if sample["volume"]}
    assert set(volumes) == set(truth)
    checked = 0
    for volume, rows in volumes.items():
        assert {row["concept"] for row in rows} == set(truth[volume])
        for row in rows:
            own = truth[volume][row["concept"]]
            moved = np.roll(own, 1, axis=2)
            assert row["truth"] == own.sum()
            if (volume, row["concept"]) == (min(truth), "aorta"):
                assert (row["dice"], row["hd95"], row["nsd"]) == (0, None, 0)
                continue
            # where organs touch, a pixel claimed by two goes to one of them: those have their own test
            away = np.pad(own, 1)
            apart = not any(
                (ndimage.binary_dilation(away, iterations=2)[1:-1, 1:-1, 1:-1] & other).any()
                for concept, other in truth[volume].items()
                if concept != row["concept"]
            )
            if not apart:
                continue
            checked += 1
            assert row["dice"] == pytest.approx(2 * (own & moved).sum() / (own.sum() + moved.sum()))
            assert row["iou"] == pytest.approx((own & moved).sum() / (own | moved).sum())
            ahead, back = far(moved, own), far(own, moved)
            assert row["hd95"] == pytest.approx(max(np.percentile(ahead, 95), np.percentile(back, 95)))
            near = (ahead <= 2).sum() + (back <= 2).sum()
            assert row["nsd"] == pytest.approx(near / (len(ahead) + len(back)))
            assert row["unit"] == "mm"
    assert checked >= 6
    (figures,) = (parts["btcv"] for parts in report["volumes"].values())
    dice = [row["dice"] for rows in volumes.values() for row in rows]
    assert figures["pairs"] == len(dice)
    assert figures["dice"] == pytest.approx(np.mean(dice))


def test_a_volume_cut_short_is_measured_again_to_the_same_report(
    corpus: Path, predictions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole" / "report.json"
    run(corpus, predictions, whole)
    cut = tmp_path / "cut" / "report.json"
    from medshards.evaluate.report import journal

    seen: list[Measured] = []

    class Stopped(Exception):
        pass

    def add(self: journal.Journal, measured: Measured) -> None:
        if len(seen) == 2:
            raise Stopped
        seen.append(measured)
        kept(self, measured)

    kept = journal.Journal.add
    monkeypatch.setattr(journal.Journal, "add", add)
    with pytest.raises(Stopped):
        run(corpus, predictions, cut)
    monkeypatch.undo()
    assert not cut.exists()
    run(corpus, predictions, cut)
    assert cut.read_bytes() == whole.read_bytes()


def test_a_page_and_a_markdown_report_show_volumes(corpus: Path, predictions: Path, tmp_path: Path) -> None:
    for name in ("report.html", "report.md"):
        run(corpus, predictions, tmp_path / name)
        assert "Whole volumes" in (tmp_path / name).read_text()
