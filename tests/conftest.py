"""Paths of the real samples, which may lie elsewhere or be absent, and of the reference numbers."""

import gc
import os
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from tests.hub import Hub, serve

settings.register_profile(
    "medshards", deadline=None
)  # how long an example takes says how busy the machine is
settings.load_profile("medshards")

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "sources" / "samples"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Modules and tests stay for the whole session: nobody looks among them for garbage, which took a fifth of it."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Training, the longest, comes first; the many short tests of converters fill up the end."""
    items.sort(key=lambda item: item.path, reverse=True)


@pytest.fixture(scope="session", autouse=True)
def _key_of_patients(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests make and use a key of their own, never that of the user."""
    os.environ["MEDSHARDS_KEY_FILE"] = str(tmp_path_factory.mktemp("key") / "patients.key")


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, so this process and its forks need not wait until every file is on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine, which `push` and `pull` speak to."""
    with serve(monkeypatch) as running:
        yield running


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder with real downloads, one folder a dataset, in their native layout."""
    path = Path(os.environ.get("MEDSHARDS_SAMPLES", SAMPLES)).expanduser().resolve()
    if not path.is_dir():
        pytest.skip(f"{path} is absent (set MEDSHARDS_SAMPLES)")
    return path


def free_job() -> int:
    """A job number whose port, as the script of a training derives it, nobody on this machine listens at."""
    for job in random.sample(range(1, 10_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("localhost", 20_000 + job))
            return job
    raise AssertionError("no port is free")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake Slurm whose commands are on PATH."""
    fake = Path(__file__).with_name("slurm_fake.py")
    (tmp_path / "bin").mkdir()
    (tmp_path / "slurm").mkdir()
    for name in ("sbatch", "srun", "squeue", "scontrol"):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} {name} "$@"\n')
        command.chmod(0o755)
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    monkeypatch.setenv("FAKE_SLURM_JOB", str(free_job()))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "slurm"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder with the reference numbers of the SAM3 objective."""
    return Path(__file__).with_name("golden")
