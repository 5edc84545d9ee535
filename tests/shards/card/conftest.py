"""A corpus of datasets whose records differ: slices of volumes, null and odd fields, losses, JPEGs, layers of masks."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from medshards.vocab.vocabulary import Vocabulary

SLUGS = ("btcv", "glas", "hc18", "kvasir_seg")


def build_phantoms(slugs: Sequence[str], folder: Path) -> Path:
    """The corpus of the phantoms of some datasets."""
    catalog = load_catalog()
    for slug in slugs:
        phantoms.write_phantom(slug, folder / "raw" / slug)
        build_dataset(catalog[slug], folder / "raw" / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", Vocabulary.load().digest, catalog)
    return folder / "corpus"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of four phantoms."""
    return build_phantoms(SLUGS, tmp_path_factory.mktemp("card"))
