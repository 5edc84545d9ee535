"""Paths of the real samples and the reference numbers; both may lie elsewhere or be absent."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def _existing(variable: str, default: Path) -> Path:
    path = Path(os.environ.get(variable, default)).expanduser().resolve()
    if not path.is_dir():
        pytest.skip(f"{path} is absent (set {variable})")
    return path


@pytest.fixture(scope="session", autouse=True)
def _key_of_patients(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests make and use a key of their own, never that of the user."""
    os.environ["MEDSHARDS_KEY_FILE"] = str(tmp_path_factory.mktemp("key") / "patients.key")


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder with real downloads, one folder a dataset, in their native layout."""
    return _existing("MEDSHARDS_SAMPLES", SHARED / "sources" / "samples")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder with the reference numbers of the SAM3 objective."""
    return _existing("MEDSHARDS_GOLDEN", SHARED / "design" / "sam3_golden")
