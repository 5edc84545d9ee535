"""Whatever ends a run ends all of it: soon, with the right status, in one line, and with no process left behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from medshards.common.files import locked
from medshards.train.run import session
from medshards.train.run.checkpoint import steps
from tests.train import processes
from tests.train.failing import CAUSES, arm
from tests.train.run.test_trainer import arguments, command

SECONDS = 10  # that a failing run may take to end
OPTIONS = [
    "run.log_every=1", "run.validate_every=1000", "run.checkpoint_every=2", "run.overlays=0", "batch.images=2",
    "batch.per_rank=1",
]  # fmt: skip
SAID = {
    "device": "Error: the memory of the device ran out: lower batch.per_rank",
    "store": "403 Forbidden",
    "exception": "KeyError: 'a defect'",
}


def alive(mark: str) -> list[int]:
    """Processes that were started, directly or not, with this mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if (
                mark.encode() in path.read_bytes()
                and "Z" not in (path.parent / "stat").read_text().split()[2]
            ):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def fail(cause: str, workers: int, ranks: int, corpus: Path, tmp_path: Path) -> tuple[int, float, str]:
    """Status, seconds from the cause (or the last update after it) until no process is left, and what was said."""
    mark, stamp, log = f"MARK={uuid.uuid4()}", tmp_path / "struck", tmp_path / "log"
    words = arguments(
        corpus, tmp_path / "run", "--steps", "30", options=[*OPTIONS, f"data.workers={workers}"]
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if ranks == 2 else []
    environment = {**os.environ, "MARK": mark.removeprefix("MARK="), "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *torchrun, "-m", "tests.train.failing", cause, str(stamp), "train", *words],
            env=environment, stdout=stream, stderr=stream, cwd=Path(__file__).parents[3],
        )  # fmt: skip
        status = process.wait(processes.PATIENCE)
    while alive(mark) and time.time() - stamp.stat().st_mtime < processes.PATIENCE:
        time.sleep(0.05)
    return status, time.time() - stamp.stat().st_mtime, log.read_text()


def check(cause: str, workers: int, ranks: int, corpus: Path, tmp_path: Path, seconds: float) -> None:
    status, took, log = fail(cause, workers, ranks, corpus, tmp_path)
    assert status != 0, log
    assert took < seconds, log
    if ranks == 1:
        assert status == 1, log
    if cause == "worker":
        killed = "Error: a data worker was killed, most likely because memory ran out"
        expected = killed if workers else "Error: memory ran out"
        assert expected in log
        assert "go on with --resume, from" in log
        assert "step-00000002" in log
    elif cause == "peer":
        assert "lost" in log
        assert "go on with --resume, from" in log
    elif cause in SAID:
        assert SAID[cause] in log
    if cause not in ("exception", "peer") and ranks == 1:
        assert "Traceback" not in log
    print(f"{cause}, {workers} workers, {ranks} ranks: status {status} after {took:.1f} s")


def test_a_run_ends_whose_worker_is_killed(corpus: Path, tmp_path: Path) -> None:
    check("worker", 2, 1, corpus, tmp_path, 12 * SECONDS)  # this machine may be busy


def _failing(cause: str, stamp: Path, words: list[str]) -> None:
    arm(cause, stamp)
    command(words)


def test_a_rank_ends_that_lost_another(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = arguments(corpus, tmp_path / "run", "--steps", "30", options=[*OPTIONS, "data.workers=1"])
    assert processes.run(2, _failing, "peer", tmp_path / "struck", words) == [1, -signal.SIGKILL]
    told = capfd.readouterr().err
    assert "lost" in told
    assert "go on with --resume, from" in told


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("cause", CAUSES)
def test_every_failing_run_ends_soon(
    cause: str, workers: int, ranks: int, corpus: Path, tmp_path: Path
) -> None:
    if (cause, ranks) == ("peer", 1):
        pytest.skip("there is no other rank to lose")
    check(cause, workers, ranks, corpus, tmp_path, SECONDS)


def test_a_closed_pipe_does_not_end_a_run(corpus: Path, tmp_path: Path) -> None:
    """medshards train ... 2>&1 | head -n 1"""
    run, words = tmp_path / "run", [*OPTIONS, "data.workers=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "medshards", "train", *arguments(corpus, run, "--steps", "3", options=words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(processes.PATIENCE) == 0
    assert steps(run)[-1] == 3


def test_two_runs_do_not_write_into_one_folder(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "PATIENCE", 0)
    with locked(tmp_path / "run" / session.LOCK):
        assert processes.run(1, command, arguments(corpus, tmp_path / "run", "--steps", "1")) == [1]
    assert "another process is training into" in capfd.readouterr().err
    assert not steps(tmp_path / "run")
