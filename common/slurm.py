"""Slurm's commands, as far as jobs are handed in and watched."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

UNUSABLE = '"\\\n%'  # in a path: they mean something else in a line of #SBATCH


class SlurmError(Exception):
    """Slurm is not there, or refuses; the message says what, and what to do."""


def problems(options: Mapping[str, str | None], extra: Sequence[str]) -> list[str]:
    """Options, by name, and further ones that would be more than one line of #SBATCH."""
    words = [(f"--{name}", value) for name, value in options.items() if value is not None]
    words += [("--sbatch", value) for value in extra]
    return [
        f"{name} {value!r}: a line break ends the option" for name, value in words if not value.isprintable()
    ]


def sbatch(script: Path, *options: str) -> str:
    """Hand a script to sbatch; returns the number of the job. Raises SlurmError."""
    return _ask(["sbatch", "--parsable", *options, str(script)], script).split(";")[0]


def states(job: str) -> dict[str, str]:
    """What becomes of the tasks of a job that has not ended, by number: "RUNNING", "PENDING" … Raises SlurmError."""
    command = ["squeue", "--noheader", "--array", "--format=%K %T", f"--jobs={job}"]
    try:
        told = _ask(command)
    except SlurmError as error:
        if "nvalid job id" in str(error):  # it ended a while ago
            return {}
        raise
    return {number: state for number, _, state in (line.partition(" ") for line in told.splitlines())}


def require_command(name: str) -> None:
    """Raises SlurmError where a command of Slurm is not installed."""
    if shutil.which(name) is None:
        raise SlurmError(f"there is no {name} here; run this on a login node of the cluster")


def _ask(command: list[str], script: Path | None = None) -> str:
    require_command(command[0])
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        what = f"{command[0]} refused {script or ''}".rstrip()
        raise SlurmError(f"{what}:\n{error.stderr.strip()}") from error
    return done.stdout.strip()
