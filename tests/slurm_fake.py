"""A Slurm of one node, for tests: its first argument is the command, sbatch, srun, squeue or scontrol.

Its jobs live in the folder $FAKE_SLURM; the first has the number $FAKE_SLURM_JOB. ``sbatch`` runs the script as a batch
step in a session of its own and returns; a job with a dependency when that job has ended. The node has two CPUs: no
more than two scripts run at once, whatever is in the queue. ``srun`` runs the task and notes its process id, so that a
test can signal every process of the step as slurmstepd does. ``scontrol requeue`` makes sbatch's keeper start the
script again under the same job id.
$FAKE_SLURM_KILLS="SHARE TIMES" kills that share of the tasks of arrays, each so many times, somewhere in their first
three seconds, as a lost node does, and requeues them.
"""

import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])
JOB = int(os.environ["FAKE_SLURM_JOB"])
CPUS = 2


def sbatch(*words: str) -> None:
    *options, script = words
    lines = Path(script).read_text().splitlines()
    options += [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    given = dict(re.findall(r"^--([\w-]+)=?(.*)$", "\n".join(options), re.MULTILINE))
    job = JOB
    while True:
        try:
            (FOLDER / f"job-{job}").mkdir()
            break
        except FileExistsError:
            job += 1
    tasks: list[int | None] = [*range(int(given["array"].split("-")[1]) + 1)] if "array" in given else [None]
    for task in tasks:
        _state(job, task, "PENDING")
    after = given.get("dependency", "").removeprefix("afterany:")
    log = given["output"].strip('"').replace("%j", str(job))
    count = str(len(tasks)) if "array" in given else ""
    arguments = [str(job), script, log, given["cpus-per-task"], count, after]
    keeper = [sys.executable, __file__, "keep", *arguments]
    subprocess.Popen(keeper, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(job if "parsable" in given else f"Submitted batch job {job}")


def keep(job: str, script: str, log: str, cpus: str, tasks: str, after: str) -> None:
    """Run the script, or each task of it, until it ends without having been requeued."""
    while after and any((FOLDER / f"job-{after}").iterdir()):
        time.sleep(0.05)
    if not tasks:
        _run(int(job), None, script, log, cpus)
        (FOLDER / "ended").touch()
        return
    with ThreadPoolExecutor(CPUS) as pool:
        for task in range(int(tasks)):
            pool.submit(_run, int(job), task, script, log.replace("%a", str(task)), cpus)


def _run(job: int, task: int | None, script: str, log: str, cpus: str) -> None:
    restarts = 0
    rng = random.Random(f"{job} {task}")
    share, times = (float(n) for n in os.environ.get("FAKE_SLURM_KILLS", "0 0").split())
    kills = int(times) if task is not None and rng.random() < share else 0
    while True:
        environment = {"SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": "node[7]", "SLURM_CPUS_PER_TASK": cpus}
        if task is not None:
            environment |= {"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(task)}
        if restarts:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
        with _cpu(), Path(log).open("a") as stream:
            _state(job, task, "RUNNING")
            step = subprocess.Popen(
                ["bash", script], env={**os.environ, **environment}, stdout=stream, stderr=stream,
                start_new_session=task is not None,
            )  # fmt: skip
            if restarts < kills:
                with suppress(subprocess.TimeoutExpired):
                    step.wait(3 * rng.random())
            if restarts < kills and step.returncode is None:
                os.killpg(step.pid, signal.SIGKILL)
                _requeued(job, task).touch()
            status = step.wait()
        with (FOLDER / "statuses").open("a") as stream:
            stream.write(f"{status}\n")
        if not _requeued(job, task).exists():
            _place(job, task).unlink()
            return
        _requeued(job, task).unlink()
        _state(job, task, "PENDING")
        restarts += 1


@contextmanager
def _cpu() -> Iterator[None]:
    """Wait for a CPU of the node, and have it."""
    while True:
        for number in range(CPUS):
            with (FOLDER / f"cpu-{number}").open("a") as stream, suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
                return
        time.sleep(0.05)


def _place(job: int, task: int | None) -> Path:
    return FOLDER / f"job-{job}" / ("N" if task is None else str(task))


def _state(job: int, task: int | None, state: str) -> None:
    _place(job, task).write_text(state)


def _requeued(job: int, task: int | None) -> Path:
    return FOLDER / f"requeued-{job}_{task}"


def srun(*words: str) -> None:
    command = list(words)
    while command[0].startswith("--"):
        command.pop(0)
    environment = {**os.environ, "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}
    task = subprocess.Popen(command, env=environment, start_new_session=True)
    (FOLDER / "task").write_text(str(task.pid))
    sys.exit(task.wait())


def squeue(*words: str) -> None:
    assert words[:3] == ("--noheader", "--array", "--format=%K %T")
    folder = FOLDER / f"job-{words[3].removeprefix('--jobs=')}"
    if not folder.is_dir():
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    for place in sorted(folder.iterdir()):
        print("N/A" if place.name == "N" else place.name, place.read_text())


def scontrol(*words: str) -> None:
    if words[:2] == ("show", "hostnames"):
        assert words[2:] == ("node[7]",)
        print("localhost\nother")
    else:
        assert words[0] == "requeue"
        job, _, task = words[1].partition("_")
        _requeued(int(job), int(task) if task else None).touch()


def main() -> None:
    name, *words = sys.argv[1:]
    commands: dict[str, Callable[..., None]] = {
        "sbatch": sbatch,
        "srun": srun,
        "squeue": squeue,
        "scontrol": scontrol,
        "keep": keep,
    }
    commands[name](*words)


if __name__ == "__main__":
    main()
