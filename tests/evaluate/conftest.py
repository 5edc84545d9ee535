"""A small corpus of phantoms and a checkpoint of a tiny model, made once."""

from pathlib import Path

import pytest
import torch

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.train.run.session import run_training

SLUGS = ("busi", "drive", "ph2", "ravir")  # classes, a merged one, an external set, two classes in an image


def build_corpus(folder: Path) -> Path:
    catalog = load_catalog()
    for slug in SLUGS:
        expected = write_phantom(slug, folder / "raw" / slug)
        result = build_dataset(catalog[slug], folder / "raw" / slug, folder / "corpus")
        assert result.samples == expected.samples
    write_corpus(folder / "corpus", "default", "none")
    return folder / "corpus"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # bit-exact comparisons, and children may be forked


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("phantoms"))


@pytest.fixture(scope="session")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "run"
    run_training(str(corpus), folder, "tiny", ["run.steps=1", "run.validate_images=1"])
    return folder
