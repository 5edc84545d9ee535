"""A build in units on Slurm gives the bytes of a local one, whatever became of its units; and can be watched."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medshards.curate import phantoms
from medshards.shards.cli.build import build
from medshards.shards.cluster.unit import main as encode_unit_of
from medshards.shards.cluster.units import balanced, folder_of
from tests.shards.cluster.downloads import corpus
from tests.shards.conftest import write_phantoms

SLUGS = ("drive", "ravir", "mucic_hl60")


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(build, [str(word) for word in words], prog_name="medshards build")


def settled(slurm: Path, seconds: float = 240) -> None:
    """Wait until the queue is empty."""
    until = time.monotonic() + seconds
    while any(any(job.iterdir()) for job in slurm.glob("job-*")):
        assert time.monotonic() < until, "the jobs do not end"
        time.sleep(0.1)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return write_phantoms(SLUGS, tmp_path / "raw")


@pytest.mark.parametrize(
    "kills", ["0.5 2", *(pytest.param(k, marks=pytest.mark.slow) for k in ("0 0", "0.5 1"))]
)
def test_units_give_the_bytes_of_a_local_build(
    downloads: Path, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: str
) -> None:
    """Also when half of them are killed, once or twice; all datasets at once go into one corpus."""
    monkeypatch.setenv("FAKE_SLURM_KILLS", kills)
    words = (*SLUGS[:2], "--raw", downloads)
    assert invoke(*words, "--out", tmp_path / "local").exit_code == 0
    done = invoke(*words, "--out", tmp_path / "out", "--engine", "slurm", "--units", "3")
    assert done.exit_code == 0, done.output
    job = int(os.environ["FAKE_SLURM_JOB"])
    assert f"{SLUGS[0]}: 8 cases in 3 units, job {job}; job {job + 1} assembles" in done.output
    settled(slurm)
    logs = [path.read_text() for path in sorted((tmp_path / "out/.work").glob("*.log"))]
    assert corpus(tmp_path / "out") == corpus(tmp_path / "local"), logs
    job = int(os.environ["FAKE_SLURM_JOB"])
    assert f"{SLUGS[0]}: 8 samples" in logs[0]
    assert "unfinished" not in logs[0]
    assert {path.suffix for path in (tmp_path / "out/.work").iterdir()} == {".lock", ".log"}
    assert set((slurm / "statuses").read_text().split()) <= {"0", f"-{int(signal.SIGKILL)}"}


def test_a_download_that_cannot_be_used_keeps_no_other_from_the_queue(
    downloads: Path, slurm: Path, tmp_path: Path
) -> None:
    """It is named, and so told by the exit status; nothing begins here."""
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho 7\n")
    shutil.rmtree(downloads / "drive" / "DRIVE")
    (downloads / "drive" / "notes.txt").touch()
    done = invoke(*SLUGS, "--raw", downloads, "--out", tmp_path / "out", "--engine", "slurm")
    assert done.exit_code == 1
    assert "drive: not built: not_recognised" in done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["ravir", "mucic_hl60"]


def test_a_unit_that_always_fails_is_named_and_the_rest_is_built(
    downloads: Path, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its units die with their nodes; in the last job the case that kills its process is named."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, signal, time\n"
        "from medshards.shards.encode import work\n"
        "real = work.walk\n"
        "def walk(source, policy, case, *more):\n"
        "    if case.key == '24_training':\n"
        "        os.kill(os.getppid() if 'SLURM_ARRAY_TASK_ID' in os.environ else os.getpid(), signal.SIGKILL)\n"
        "        time.sleep(60)\n"
        "    return real(source, policy, case, *more)\n"
        "work.walk = walk\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}")
    words = ("drive", "--raw", downloads, "--out", tmp_path / "out")
    assert invoke(*words, "--engine", "slurm", "--units", "4").exit_code == 0
    settled(slurm)
    log = (tmp_path / "out/.work/drive.log").read_text()
    assert re.search(
        r"drive: unit \d ended unfinished \(\d cases, .*24_training.*\); what is missing is", log
    )
    assert "24_training" in log
    assert "kills_worker" in log
    assert "drive: 7 samples" in log
    statuses = (slurm / "statuses").read_text().split()
    assert statuses[-1] == "1"
    assert sum(status != "0" for status in statuses[:-1]) == 3  # the unit's first try, and two more
    assert json.loads((tmp_path / "out/drive/manifest.json").read_text())["counts"]["samples"] == 7


def test_a_build_in_the_queue_is_watched_and_excludes_another(
    downloads: Path, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    idle = tmp_path / "bin" / "sbatch"  # a queue in which nothing begins
    real = idle.read_text()
    idle.write_text(f"#!/bin/sh\nmkdir -p {slurm}/job-7 {slurm}/job-8\n[ $# = 2 ] && echo 7 || echo 8\n")
    assert (
        invoke("drive", "--raw", downloads, "--out", out, "--engine", "slurm", "--units", "3").exit_code == 0
    )
    for number, state in enumerate(("RUNNING", "PENDING")):
        (slurm / "job-7" / str(number)).write_text(state)
    unit = [sys.executable, "-m", "medshards.shards.cluster.unit", str(out), "drive", "0", "1"]
    assert subprocess.run(unit, timeout=300).returncode == 0
    told = invoke("--status", "--out", out)
    assert told.exit_code == 0
    assert "drive: 3 of 8 cases finished, 3 samples" in told.output
    assert "units: 1 of 3 done, 1 waiting" in told.output
    assert "lost, to be encoded by the last job: 2" in told.output
    (found,) = json.loads(invoke("--status", "--out", out, "--json").stdout)
    assert (found["slug"], found["at_work"], found["units"]["running"]) == ("drive", True, [])
    for engine in ("local", "slurm"):
        other = invoke("drive", "--raw", downloads, "--out", out, "--engine", engine)
        assert other.exit_code == 1
        assert "another build of drive is in the queue of Slurm, jobs 7; see" in other.output
    for place in (slurm / "job-7").iterdir():  # scancel
        place.unlink()
    assert "nobody is at work: run build again" in invoke("--status", "--out", out).output
    idle.write_text(real)
    packs = {p.name: p.stat().st_mtime_ns for p in (out / ".work/drive/packs/000000").iterdir()}
    assert len(packs) == 2
    result = invoke("drive", "--raw", downloads, "--out", out, "--json")
    assert json.loads(result.stdout)["datasets"][0]["reused"] == 3  # what the unit finished
    assert not folder_of(out, "drive").exists()
    assert "no build is at work" in invoke("--status", "--out", out).output


def test_what_a_unit_says_names_no_file_of_a_patient(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of one that is damaged; the published names of this dataset tell who examined whom."""
    phantoms.write_phantom("bus_uclm", tmp_path / "raw" / "bus_uclm")
    published = sorted((tmp_path / "raw" / "bus_uclm").rglob("images/*.png"))
    published[0].write_bytes(published[0].read_bytes()[:100])
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho 7\n")  # nothing begins
    words = ("bus_uclm", "--raw", tmp_path / "raw", "--out", tmp_path / "out", "--engine", "slurm")
    assert invoke(*words, "--units", "1").exit_code == 0
    capsys.readouterr()
    encode_unit_of(str(tmp_path / "out"), "bus_uclm", "0")
    said = "".join(capsys.readouterr())
    assert re.search(r"unit 0 of bus_uclm: 8 cases, 7 samples, refused: 1 \w+", said)
    assert not [path.stem for path in published if path.stem in said]


def test_options_of_slurm_go_with_slurm_alone(downloads: Path, tmp_path: Path) -> None:
    words = ("drive", "--raw", downloads, "--out", tmp_path / "out")
    assert "--mem: only with --engine ray or slurm" in invoke(*words, "--mem", "8G").output
    assert (
        "'8G\\nevil' is no size such as 8G" in invoke(*words, "--engine", "slurm", "--mem", "8G\nevil").output
    )
    refused = invoke(*words, "--engine", "slurm", "--account", "lab\nevil")
    assert refused.exit_code == 1
    assert "--account 'lab\\nevil': a line break ends the option" in refused.output
    assert not (tmp_path / "out" / "drive").exists()


def test_without_slurm_nothing_begins(
    downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = invoke("drive", "--raw", downloads, "--out", tmp_path / "out", "--engine", "slurm")
    assert refused.exit_code == 1
    assert (
        "there is no sbatch here; run this on a login node of the cluster" in refused.output.splitlines()[-1]
    )
    assert not (tmp_path / "out").exists()


def test_the_status_of_no_folder_is_none(tmp_path: Path) -> None:
    told = invoke("--status", "--out", tmp_path / "typo")
    assert told.exit_code == 2
    assert "typo: no such folder" in told.output.replace("\n", "")


def test_units_are_ranges_of_about_equally_many_bytes() -> None:
    sizes = [10, 10, 10, 1000, 10, 10, 2000, 10, 10, 500, 500, 10]
    for count in (1, 2, 3, 5, 12, 99):
        cuts = balanced(sizes, count)
        assert (cuts[0], cuts[-1]) == (0, len(sizes))
        assert cuts == sorted(set(cuts))
        assert len(cuts) - 1 == min(count, len(sizes))
    heaviest = max(sum(sizes[start:end]) for start, end in pairwise(balanced(sizes, 3)))
    assert heaviest <= 2 * sum(sizes) / 3
    assert balanced(sizes, None) == [0, len(sizes)]
    assert balanced([], None) == [0]
