"""Build on a Slurm cluster: an array job of units, and a last job that assembles; no process stays to wait for them.

The last job is the ordinary build: it takes over what the units finished, encodes what is missing, case by case, and
assembles. So a cluster gives the bytes of one machine, whatever became of its units.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medshards.common.files import write_atomically
from medshards.common.slurm import UNUSABLE, SlurmError, problems, require_command, sbatch, states
from medshards.curate.catalog.entry import Entry
from medshards.curate.pseudonyms import key_file
from medshards.curate.sample import Reject
from medshards.curate.unpack import cache_folder
from medshards.shards.build import place
from medshards.shards.build.place import WORK
from medshards.shards.build.survey import survey
from medshards.shards.cluster.units import (
    Job,
    balanced,
    done,
    new_job,
    read_job,
    size_of,
    write_job,
    write_units,
)
from medshards.shards.encode.policy import Making

RETRIES = 2  # of a unit that fails


@dataclass(frozen=True)
class Asked:
    """What is asked of Slurm for each job; None leaves a choice to the cluster. extra: any further options of sbatch.

    units: in how many the cases are divided; None: by their bytes.
    """

    cpus: int = 1
    units: int | None = None
    mem: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    extra: tuple[str, ...] = ()


def submit(
    entry: Entry, raw: Path, root: Path, out: Path, making: Making, catalog: Path | None, asked: Asked,
    passed_on: Sequence[str] = (),
) -> Job:  # fmt: skip
    """Write the units and scripts of a build into OUT/.work/SLUG and submit them; returns what was submitted.

    raw, root: the folder of downloads and that of this dataset. passed_on: further words for the last `build`. All
    folders must be shared by the nodes. Raises Reject as `build_dataset` does, and SlurmError.
    """
    raw, root, out = raw.resolve(), root.resolve(), out.resolve()
    place.require_apart(root, out)
    place.require_own(out, entry.slug)
    given = {name: getattr(asked, name) for name in ("mem", "time", "partition", "account")}
    if found := problems(given, asked.extra):
        raise SlurmError("; ".join(found))
    if set(str(out)) & set(UNUSABLE):
        raise SlurmError(f"{out}: Slurm cannot write logs there; choose a path without quotes, \\ and %")
    require_command("sbatch")
    with place.held(out, entry.slug):
        require_no_job(out, entry.slug)
        surveyed = survey(entry, root, out, making, 0, lambda stage, done, total: None)
        cuts = balanced(map(size_of, surveyed.listing.cases), asked.units)
        write_units(out, entry.slug, surveyed.tasks(), cuts)
        job = new_job(making, catalog, cuts)
        write_job(out, entry.slug, job)
        words = [*_words(entry.slug, raw, out, making, catalog), *passed_on]
        units, last = _scripts(out, entry.slug, job, asked, words)
        after = []
        if job.units:  # otherwise all of the download is refused
            job = replace(job, array=sbatch(units))
            write_job(out, entry.slug, job)
            after = [f"--dependency=afterany:{job.array}"]
        job = replace(job, last=sbatch(last, *after))
        write_job(out, entry.slug, job)
    return job


def require_no_job(out: Path, slug: str) -> None:
    """Raises Reject `locked` while jobs of this dataset are in the queue, unless this process is the last of them."""
    job = read_job(out, slug)
    if job is None or os.environ.get("SLURM_JOB_ID") == job.last != "":
        return
    try:
        queued = [number for number in (job.array, job.last) if number and states(number)]
    except SlurmError as error:
        what = f"jobs {job.array} and {job.last} of Slurm may be building it, and whether they are cannot be seen here"
        raise Reject("locked", f"{slug}: {what} ({error}); see `medshards build --status`") from error
    if queued:
        what = f"another build of {slug} is in the queue of Slurm, jobs {' and '.join(queued)}"
        raise Reject("locked", f"{what}; see `medshards build --status`, or end it with scancel")


def lost_units(out: Path, slug: str) -> list[int]:
    """The units that were not finished when the last job begins; [] where this process is no last job."""
    job = read_job(out, slug)
    if job is None or os.environ.get("SLURM_JOB_ID") != job.last:
        return []
    return sorted(set(range(job.units)) - done(out, slug).keys())


def _words(slug: str, raw: Path, out: Path, making: Making, catalog: Path | None) -> list[str]:
    """The command line, after `build`, that builds the same here."""
    own = making.own
    options: dict[str, Any] = {
        "--raw": raw,
        "--out": out,
        "--profile": making.profile,
        "--slices": None if making.profile == "paper" else making.slices.replace(" ", ":"),
        "--max-side": making.max_side,
        "--shard-size": making.shard_bytes >> 20,
        "--catalog": catalog and catalog.resolve(),
        "--source": own and own.code,
        "--labels": own and own.labels,
        "--concepts": own and own.concepts,
    }
    return [slug, *(str(word) for pair in options.items() if pair[1] is not None for word in pair)]


def _scripts(out: Path, slug: str, job: Job, asked: Asked, words: Sequence[str]) -> list[Path]:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    work = out / WORK / slug
    (work / "logs").mkdir(exist_ok=True)
    scripts = []
    for name in ("units.sbatch", "last.sbatch"):
        text = environment.get_template(f"{name}.j2").render(
            slug=slug, out=out, work=work, units=job.units, asked=asdict(asked), words=words, retries=RETRIES,
            python=sys.executable, key_file=key_file().resolve(), cache=cache_folder().resolve(),
        )  # fmt: skip
        write_atomically(work / name, text.encode())
        scripts.append(work / name)
    return scripts
