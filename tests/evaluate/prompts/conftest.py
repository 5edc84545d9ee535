"""A corpus with a made-up abdomen, and pictures of polyps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.phantoms import write_phantom
from medshards.evaluate.prompts.distance import units
from medshards.evaluate.prompts.target import Part, Scene
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import build_dataset
from tests.evaluate.prompts.abdomen import ORGANS, abdomen, write_btcv

SPACING = (5.0, 3.0, 3.0)  # mm
SHAPE = (40, 112, 112)


@pytest.fixture(scope="session")
def scene() -> Scene:
    labels, image = abdomen(SHAPE, SPACING, seed=3)
    found = {name: labels == value for value, name in enumerate(ORGANS, start=1)}
    classes = {name: Part(m, (0, 0, 0)).within(SHAPE) for name, m in found.items() if m.sum() >= 100}
    pixels = image.astype(np.int32) * 1000
    return Scene("case", "btcv", SHAPE, units(SPACING), "mm", classes, {}, lambda: pixels, air=-300_000)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients of BTCV, the organs of one without a gallbladder; pictures of kvasir_seg."""
    folder = tmp_path_factory.mktemp("prompts")
    for number, seed in ((1, 0), (2, 1)):
        labels, image = abdomen((24, 64, 64), (8.0, 5.0, 5.0), seed)
        if number == 2:
            labels[labels == 1 + list(ORGANS).index("gallbladder")] = 0
        write_btcv(folder / "raw" / "btcv", number, labels, image, (8.0, 5.0, 5.0))
    write_phantom("kvasir_seg", folder / "raw" / "kvasir_seg")
    catalog = load_catalog()
    for slug in ("btcv", "kvasir_seg"):
        build_dataset(catalog[slug], folder / "raw" / slug, folder / "corpus")
    write_corpus(folder / "corpus", "default", "none")
    return folder / "corpus"
