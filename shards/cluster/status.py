"""How far the builds of a corpus are: of each dataset that is at work, or that left work unfinished."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medshards.common.files import locked
from medshards.common.slurm import SlurmError, states
from medshards.curate.catalog.entry import is_slug
from medshards.shards.build.place import PACKS, WORK
from medshards.shards.build.progress import read_progress
from medshards.shards.cluster.units import Job, done, read_job

WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"}


@dataclass(frozen=True)
class Status:
    """Of one dataset.

    at_work: a process of this or another machine holds its lock, or a job of Slurm is in the queue. cases: finished;
    of: of how many, None where that is not known. running: cases in the hands of workers, None for a build in units,
    whose units tell. units: of such a build, else None. seconds: until all is encoded at the present rate, None where
    that cannot be told. queue: why Slurm could not be asked, "" when it could.
    """

    slug: str
    at_work: bool
    cases: int
    of: int | None = None
    running: int | None = None
    units: Units | None = None
    samples: int = 0
    rejects: dict[str, int] | None = None
    seconds: float | None = None
    rate: float | None = None  # samples a second
    queue: str = ""


@dataclass(frozen=True)
class Units:
    """How many units are finished and in the queue, and the numbers of those that run and of those that are lost."""

    done: int
    of: int
    waiting: int
    running: tuple[int, ...]
    lost: tuple[int, ...]


def statuses(out: Path) -> list[Status]:
    """The status of each dataset with unfinished work, in order of slug."""
    folders = sorted(path for path in (out / WORK).glob("*") if path.is_dir() and is_slug(path.name))
    return [status(out, folder.name) for folder in folders]


def status(out: Path, slug: str) -> Status:
    """The status of one dataset."""
    job = read_job(out, slug)
    if job is None:
        return _of_process(out, slug)
    finished, queue = done(out, slug), ""
    try:
        queued = states(job.array) if job.array else {}
        last = bool(job.last) and bool(states(job.last))
    except SlurmError as error:
        queued, last, queue = {}, False, str(error)
    cases, samples = sum(d.cases for d in finished.values()), sum(d.samples for d in finished.values())
    passed = max(time.time() - job.begun, 1e-9)
    return Status(
        slug,
        bool(queued) or last or _taken(out, slug),
        cases,
        job.cases,
        units=_units(job, finished, queued, bool(queue)),
        samples=samples,
        rejects=dict(sum((Counter(d.rejects) for d in finished.values()), Counter())),
        seconds=passed / cases * (job.cases - cases) if cases else None,
        rate=samples / passed,
        queue=queue,
    )


def _of_process(out: Path, slug: str) -> Status:
    """Of a build that one process leads, here or on a Ray cluster; what it had not told when lost is in packs."""
    work, at_work = out / WORK / slug, _taken(out, slug)
    packed = sum(path.read_bytes().count(b"\n") for path in (work / PACKS).rglob("*.journal"))
    told = read_progress(work)
    if told is None:
        return Status(slug, at_work, packed)
    passed, missing = max(told.told - told.begun, 1e-9), told.cases - told.done
    return Status(
        slug,
        at_work,
        max(told.done, packed) if not at_work else told.done,
        told.cases,
        running=told.given - told.done if at_work else 0,
        samples=told.samples,
        rejects=told.rejects,
        seconds=passed / told.encoded * missing if told.encoded and at_work else None,
        rate=told.made / passed,
    )


def _units(job: Job, finished: Mapping[int, object], queued: dict[str, str], unknown: bool) -> Units:
    waiting = [n for n, state in queued.items() if state in WAITING]
    running = sorted(int(n) for n in queued.keys() - set(waiting) if n.isdigit() and int(n) not in finished)
    there = finished.keys() | {int(n) for n in queued if n.isdigit()}
    lost = () if unknown else tuple(sorted(set(range(job.units)) - there))
    return Units(len(finished), job.units, len(waiting), tuple(running), lost)


def _taken(out: Path, slug: str) -> bool:
    try:
        with locked(out / WORK / f"{slug}.lock", wait=False):
            return False
    except BlockingIOError:
        return True
