"""A small corpus that is built once: three datasets, two of them with concepts that an image can lack."""

from pathlib import Path

import pytest
import torch

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.vocab.vocabulary import Vocabulary

SLUGS = ("busi", "drive", "ravir")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # bit-exact comparisons, and children may be forked


def build_corpus(folder: Path, slugs: tuple[str, ...] = SLUGS, seed: int = 0) -> Path:
    catalog = load_catalog()
    for slug in slugs:
        write_phantom(slug, folder / "raw" / slug, seed)
        build_dataset(catalog[slug], folder / "raw" / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", Vocabulary.load().digest, catalog)
    return folder / "corpus"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 training and 5 validation images."""
    return build_corpus(tmp_path_factory.mktemp("corpus"))
