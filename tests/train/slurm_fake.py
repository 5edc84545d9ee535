"""A Slurm of one node, for tests: its first argument is the command, sbatch, srun or scontrol.

The job lives in the folder $FAKE_SLURM. ``sbatch`` runs the script as a batch step in a session of its own and returns.
``srun`` runs the task and notes its process id, so that a test can signal every process of the step as slurmstepd
does. ``scontrol requeue`` makes sbatch's keeper start the script again under the same job id.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])
JOB = "4242"


def sbatch(script: str) -> None:
    options = dict(re.findall(r"^#SBATCH (--[\w-]+)=?(.*)$", Path(script).read_text(), re.MULTILINE))
    log = options["--output"].strip('"').replace("%j", JOB)
    keeper = [sys.executable, __file__, "keep", script, log, options["--cpus-per-task"]]
    subprocess.Popen(keeper, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"Submitted batch job {JOB}")


def keep(script: str, log: str, cpus: str) -> None:
    """Run the script until it ends without having been requeued; its statuses go to $FAKE_SLURM/statuses."""
    restarts = 0
    while True:
        environment = {"SLURM_JOB_ID": JOB, "SLURM_JOB_NODELIST": "node[7]", "SLURM_CPUS_PER_TASK": cpus}
        if restarts:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
        with Path(log).open("a") as stream:
            done = subprocess.run(
                ["bash", script], env={**os.environ, **environment}, stdout=stream, stderr=stream
            )
        with (FOLDER / "statuses").open("a") as stream:
            stream.write(f"{done.returncode}\n")
        if not (FOLDER / "requeued").exists():
            (FOLDER / "ended").touch()
            return
        (FOLDER / "requeued").unlink()
        restarts += 1


def srun(*words: str) -> None:
    command = list(words)
    while command[0].startswith("--"):
        command.pop(0)
    environment = {**os.environ, "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}
    task = subprocess.Popen(command, env=environment, start_new_session=True)
    (FOLDER / "task").write_text(str(task.pid))
    sys.exit(task.wait())


def scontrol(*words: str) -> None:
    if words[:2] == ("show", "hostnames"):
        assert words[2:] == ("node[7]",)
        print("localhost\nother")
    else:
        assert words == ("requeue", JOB)
        (FOLDER / "requeued").touch()


def main() -> None:
    name, *words = sys.argv[1:]
    commands: dict[str, Callable[..., None]] = {
        "sbatch": sbatch,
        "srun": srun,
        "scontrol": scontrol,
        "keep": keep,
    }
    commands[name](*words)


if __name__ == "__main__":
    main()
