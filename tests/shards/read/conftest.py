"""The corpus that the tests of training use, built once."""

from pathlib import Path

import pytest

from tests.train.conftest import build_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 training and 5 validation images."""
    return build_corpus(tmp_path_factory.mktemp("corpus"))
