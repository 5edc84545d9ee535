"""Train on a Slurm cluster: write a batch script for a run, and submit it.

The script (train/slurm.sbatch.j2) is made to be read and changed. It goes on by itself after a preemption, a
requeue or a lost node; docs/cluster-slurm.md explains each line. What can be checked before the job waits in the
queue is checked: configuration, corpus, access to the weights, disk.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medshards.common.files import is_url, sha256_file, write_atomically
from medshards.common.slurm import UNUSABLE, SlurmError, problems, sbatch
from medshards.train.run.checkpoint import steps
from medshards.train.run.config import Config, dump_config, load_config
from medshards.train.run.preflight import submission_problems
from medshards.train.run.session import FINISHED, Failure, failures, source_of

FOLDER, SCRIPT = "slurm", "train.sbatch"
WRITTEN = ".written.json"  # SHA-256 of the files beside it, as they were written here
TEMPLATE = "slurm.sbatch.j2"


@dataclass(frozen=True)
class Allocation:
    """What is asked of Slurm; None leaves a choice to the cluster.

    nodes, gpus_per_node: there will be a rank for each GPU. cpus_per_node: default one for each rank and each of its
    data workers. mem: memory of a node, such as 200G. time: limit as Slurm writes it, such as 2-00:00:00. extra: any
    further options of sbatch.
    """

    nodes: int = 1
    gpus_per_node: int = 1
    cpus_per_node: int | None = None
    mem: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    extra: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Options that would be more than one line of #SBATCH."""
        given = {"mem": self.mem, "time": self.time, "partition": self.partition, "account": self.account}
        return problems(given, self.extra)

    @property
    def ranks(self) -> int:
        """Processes of the run."""
        return self.nodes * self.gpus_per_node


def prepare(
    data: str,
    out: Path,
    source: str | None,
    overrides: Sequence[str],
    resume: bool,
    passed_on: Sequence[str],
    export: Sequence[str],
    allocation: Allocation,
) -> Path:
    """Check the run and write OUT/slurm/train.sbatch with its resolved configuration; returns the script.

    The arguments are those of `medshards.train.run.session.run_training`; ``passed_on`` are further words for
    `medshards train`. Raises Failure, also when it would overwrite what was changed by hand.
    """
    out = out.absolute()
    data = data if is_url(data) else str(Path(data).expanduser().absolute())
    with failures(out):
        config = load_config(source_of(out, source, resume and bool(steps(out))), overrides)
        found = submission_problems(config, data, out, allocation.ranks)
        if set(str(out)) & set(UNUSABLE):
            found.append(f"{out!r}: Slurm cannot write its log there; choose a path without quotes, \\ and %")
        found += allocation.problems()
        if found:
            raise Failure("the job was not written:\n  " + "\n  ".join(found))
        folder = out / FOLDER
        config_file, script = folder / "config.yaml", folder / SCRIPT
        arguments = ["--data", data, "--out", str(out), "--config", str(config_file), "--auto-resume"]
        arguments += passed_on
        for name in export:
            arguments += ["--export", name]
        text = render(out, script, arguments, allocation, config)
        _write(folder, {config_file.name: dump_config(config).encode(), script.name: text.encode()})
    return script


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write these files, unless one of them was changed since it was written here; raises Failure."""
    digests = folder / WRITTEN
    before = json.loads(digests.read_bytes()) if digests.is_file() else {}
    for name, content in files.items():
        path = folder / name
        if path.is_file() and path.read_bytes() != content and sha256_file(path) != before.get(name):
            raise Failure(
                f"{path} was changed by hand and is not overwritten: submit it as it is (sbatch {folder / SCRIPT}), "
                "or move it away to have a new one written"
            )
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_atomically(digests, (json.dumps({**before, **written}, indent=1) + "\n").encode())
    for name, content in files.items():
        write_atomically(folder / name, content)


def render(out: Path, script: Path, arguments: Sequence[str], allocation: Allocation, config: Config) -> str:
    """The batch script that runs ``medshards train`` with ``arguments``."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    cpus = allocation.cpus_per_node or allocation.gpus_per_node * (1 + config.data.workers)
    return environment.get_template(TEMPLATE).render(
        script=script,
        folder=script.parent,
        out=out,
        name=out.name,
        python=sys.executable,
        arguments=arguments,
        asked=allocation,
        cpus=cpus,
        finished=FINISHED,
    )


def submit(script: Path) -> str:
    """Hand the script to sbatch; returns what to tell of it. Raises Failure."""
    try:
        return f"Submitted batch job {sbatch(script)}"
    except SlurmError as error:
        raise Failure(str(error)) from error


def report(script: Path, out: Path, submitted: str | None) -> str:
    """What to tell after the script was written and perhaps submitted."""
    begun = f"it goes on after update {saved[-1]}" if (saved := steps(out)) else "it begins a new run"
    lines = [f"batch script: {script} ({begun})"]
    lines.append(submitted if submitted else f"read it, then: sbatch {script}")
    return "\n".join([*lines, f"its log: {script.parent}/JOBID.log"])
