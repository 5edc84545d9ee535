"""Where the real files of the dataset lie that a module tests."""

from pathlib import Path

import pytest


@pytest.fixture
def real(samples: Path, request: pytest.FixtureRequest) -> Path:
    """Folder with real files of the dataset of the module's SOURCE, in their native layout."""
    slug: str = request.module.SOURCE.slug
    folder = samples / slug
    if not folder.is_dir():
        pytest.skip(f"no real files of {slug}")
    return folder
