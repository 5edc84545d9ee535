"""Phantom downloads and the corpora built from them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from medshards.curate import phantoms
from medshards.curate.catalog.entry import load_catalog
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import Result, build_dataset
from medshards.shards.encode.policy import Making
from medshards.shards.prove.verify import verify
from medshards.vocab.vocabulary import Vocabulary

Build = Callable[..., Result]

# whose records differ: slices of volumes, null and odd fields, losses, JPEGs
SLUGS = ("btcv", "glas", "hc18", "kvasir_seg")


def write_phantoms(slugs: Iterable[str], raw: Path) -> Path:
    """`raw`, with the phantoms of some datasets."""
    for slug in slugs:
        phantoms.write_phantom(slug, raw / slug)
    return raw


def build_phantoms(slugs: Sequence[str], folder: Path) -> Path:
    """The corpus of the phantoms of some datasets."""
    catalog, raw = load_catalog(), write_phantoms(slugs, folder / "raw")
    for slug in slugs:
        build_dataset(catalog[slug], raw / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", Vocabulary.load().digest, catalog)
    return folder / "corpus"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of four phantoms."""
    return build_phantoms(SLUGS, tmp_path_factory.mktemp("phantoms"))


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of all phantoms, for the long proofs."""
    return build_phantoms(phantoms.slugs(), tmp_path_factory.mktemp("everything"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder of downloads: the phantom of DRIVE."""
    phantoms.write_phantom("drive", tmp_path / "raw" / "drive")
    return tmp_path / "raw"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of `raw` that an undisturbed build makes: to be read, or copied and then changed."""
    folder = tmp_path_factory.mktemp("built")
    phantoms.write_phantom("drive", folder / "raw")
    result = build_dataset(load_catalog()["drive"], folder / "raw", folder / "corpus")
    assert result.samples == 8
    write_corpus(folder / "corpus", "default", Vocabulary.load().digest)
    assert verify(folder / "corpus") == []
    return folder / "corpus"


@pytest.fixture
def build(raw: Path) -> Build:
    """build(out, slug="drive", workers=1, **making): build a dataset of `raw` into a corpus."""

    def run(out: Path, slug: str = "drive", workers: int = 1, **making: Any) -> Result:
        how = Making(**making)
        result = build_dataset(load_catalog()[slug], raw / slug, out, how, workers)
        write_corpus(out, how.profile, Vocabulary.load().digest)
        return result

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
