"""Volumes in evaluation and training: windows on reading, predictions as NIfTI."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from medshards.cli import cli
from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.shards.read.corpus import Corpus
from medshards.shards.read.decode import decode
from medshards.train.data.batch import Builder
from medshards.train.data.loader import concept_names
from medshards.train.run.config import DataConfig


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of one held-out patient: CT and PET of 18 slices each."""
    folder = tmp_path_factory.mktemp("volumes")
    write_phantom("umd_petct", folder / "phantom")
    shutil.copytree(folder / "phantom" / "L2 flat", folder / "raw" / "umd_petct")
    build_dataset(load_catalog()["umd_petct"], folder / "raw" / "umd_petct", folder / "corpus")
    write_corpus(folder / "corpus", "default", "none")
    return folder / "corpus"


def test_the_window_decides_what_is_seen(volumes: Path) -> None:
    corpus = Corpus.open(volumes, "test")
    raw = corpus.read(0)
    assert raw.record["modality"] == "CT"
    usual = decode(raw).image
    assert usual.dtype == np.uint8
    lung = decode(raw, {"HU": (-1000, 200)}).image
    assert lung.mean() > usual.mean() + 20
    np.testing.assert_array_equal(decode(raw, {"SUVbw g/ml": (0, 3)}).image, usual)


def test_random_windows_in_training_only(volumes: Path) -> None:
    corpus = Corpus.open(volumes, "test")
    names = concept_names(corpus)

    def image(spread: float, epoch: int, fixed: bool = False) -> torch.Tensor:
        builder = Builder(DataConfig(random_window=spread), 64, 0, names)
        builder = builder.for_validation({}) if fixed else builder
        return builder.example(corpus.read(0), epoch, 0).image

    assert torch.equal(image(0.0, 0), image(0.0, 1))
    assert torch.equal(image(0.3, 0), image(0.3, 0))
    assert not torch.equal(image(0.3, 0), image(0.3, 1))
    assert torch.equal(image(0.3, 0, fixed=True), image(0.0, 0))


def test_evaluate_writes_volumes_and_says_the_window(volumes: Path, run: Path, tmp_path: Path) -> None:
    options = ["--datasets", "umd_petct", "--min-score", "0", "--window", "HU=-1000:400", "--device", "cpu"]
    result = CliRunner().invoke(
        cli,
        [
            "evaluate",
            "--data",
            str(volumes),
            "--checkpoint",
            str(run),
            *options,
            "--nifti",
            str(tmp_path),
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["made"]["windows"] == "hu=-1000:400"
    assert (report["datasets"][0]["split"], report["datasets"][0]["images"]) == ("test", 36)
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert [name[-3:] for name in folders] == ["-ct", "-pt"]
    for folder in tmp_path.iterdir():
        assert len(list(folder.glob("*.nii.gz"))) == 13
        liver = nib.Nifti1Image.from_filename(folder / "liver.nii.gz")
        assert liver.shape == (20, 16, 20)
        assert set(np.unique(np.asarray(liver.dataobj))) <= {0, 1}


def test_a_wrong_window_is_a_wrong_usage(volumes: Path, run: Path) -> None:
    command = ["evaluate", "--data", str(volumes), "--checkpoint", str(run), "--window", "HU=soft"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert "UNIT=LOW:HIGH" in result.output
