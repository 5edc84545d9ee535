"""A small corpus of phantoms, made once."""

from pathlib import Path

import pytest

from tests.train.conftest import build_corpus

SLUGS = ("busi", "drive", "ph2", "ravir")  # classes, a merged one, an external set, two classes in an image


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("corpus"), SLUGS)
