"""Every phantom and every real sample gives the same bytes with every engine here; that of Ray is in test_ray."""

import signal
from pathlib import Path

import pytest

from tests.shards.cluster.downloads import Reference, build_all, corpus, reference
from tests.shards.cluster.test_slurm import settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module", params=["phantoms", "samples"])
def local(
    request: pytest.FixtureRequest, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    return reference(request.param, samples, tmp_path_factory.mktemp(request.param))


def test_two_workers_give_the_bytes_of_one(local: Reference, tmp_path: Path) -> None:
    assert build_all(local.raw, tmp_path / "out", "--workers", "2") == local.status
    assert corpus(tmp_path / "out") == local.files


@pytest.mark.parametrize("kills", ["0 0", "0.2 1", "0.2 2"])
def test_units_give_the_bytes_of_a_local_build(
    local: Reference, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: str
) -> None:
    """Also when a fifth of them is killed, once and twice."""
    monkeypatch.setenv("FAKE_SLURM_KILLS", kills)
    assert build_all(local.raw, tmp_path / "out", "--engine", "slurm", "--units", "2") == local.status
    settled(slurm, 3000)
    killed = (slurm / "statuses").read_text().count(f"-{int(signal.SIGKILL)}")
    print(f"{killed} units were killed")
    assert (killed > 0) == (kills != "0 0")
    assert corpus(tmp_path / "out") == local.files
