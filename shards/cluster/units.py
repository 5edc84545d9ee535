"""Work units: ranges of a dataset's cases, about equally many bytes each, that any machine encodes on its own.

    OUT/.work/SLUG/job.json              what is built, and how
    OUT/.work/SLUG/units/000003.jsonl    the cases of unit 3
    OUT/.work/SLUG/units/000003.done     appears when all of them are finished: how many samples, which rejects

What a unit encodes lies in packs of its own, as that of any build: when it is lost, the cases in work are.
"""

from __future__ import annotations

import json
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, islice, pairwise
from pathlib import Path

from medshards.common.files import write_atomically
from medshards.common.machine import MachineError
from medshards.curate.cases import case_of, facts_of
from medshards.curate.catalog.entry import Entry, load_catalog
from medshards.curate.source import Case, Own
from medshards.shards.build.engine import run
from medshards.shards.build.place import PACKS, WORK
from medshards.shards.build.survey import Task, policy_of, worker_setup
from medshards.shards.encode.policy import Making
from medshards.shards.encode.stage import finished, parts
from medshards.shards.encode.work import encode_case, kills

JOB, UNITS = "job.json", "units"
UNIT_BYTES = 2 << 30  # of source files in a unit
MOST = 1000  # units; Slurm takes arrays of 1001 tasks unless told otherwise


@dataclass(frozen=True)
class Job:
    """A dataset that is built in units. catalog: of the user's own. begun: seconds since 1970. array, last: job ids."""

    making: Making
    catalog: Path | None
    units: int
    cases: int
    begun: float
    array: str = ""
    last: str = ""


@dataclass(frozen=True)
class Done:
    """What a finished unit came to."""

    cases: int
    samples: int
    rejects: dict[str, int]


def balanced(sizes: Iterable[int], units: int | None) -> list[int]:
    """Where the ranges of about equally many bytes begin, of cases of these sizes in order; and where the last ends.

    units: how many ranges, None as UNIT_BYTES says.
    """
    ends = array("q", accumulate(sizes))
    total = ends[-1] if ends else 0
    count = min(units or -(-total // UNIT_BYTES), MOST, len(ends))
    cuts = [0]
    for number in range(1, count):  # where the bytes before come nearest to their share
        share = total * number / count
        at = bisect_left(ends, share)
        nearest = at if share - (ends[at - 1] if at else 0) < ends[at] - share else at + 1
        cuts.append(min(max(nearest, cuts[-1] + 1), len(ends) - count + number))
    return [*cuts, len(ends)] if ends else cuts


def size_of(case: Case) -> int:
    """Bytes of the files of a case, and one."""
    paths = {path for file in case.files.values() for path in (file.parts or (file.path,))}
    return 1 + sum(path.stat().st_size for path in paths)


def folder_of(out: Path, slug: str) -> Path:
    """Where the units of a dataset lie."""
    return out / WORK / slug / UNITS


def write_units(out: Path, slug: str, tasks: Iterable[Task], cuts: Sequence[int]) -> None:
    """Write what each unit has to do: a range of the tasks, as `balanced` cuts them."""
    folder = folder_of(out, slug)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():  # of an earlier job, whose ranges were others
        path.unlink()
    stream = iter(tasks)
    for number, (start, end) in enumerate(pairwise(cuts)):
        rows = ({**facts_of(case), "known": known} for case, known in islice(stream, end - start))
        write_atomically(folder / f"{number:06d}.jsonl", (json.dumps(row).encode() + b"\n" for row in rows))


def read_unit(out: Path, slug: str, number: int) -> list[Task]:
    """The tasks of a unit."""
    with (folder_of(out, slug) / f"{number:06d}.jsonl").open("rb") as lines:
        return [(case_of(row), row["known"]) for row in map(json.loads, lines)]


def write_job(out: Path, slug: str, job: Job) -> None:
    """Keep what is built."""
    path = out / WORK / slug / JOB
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(job), default=str, indent=1).encode())


def read_job(out: Path, slug: str) -> Job | None:
    """What is built in units, None when nothing is. Raises MachineError when the file is not what was written."""
    path = out / WORK / slug / JOB
    try:
        facts = json.loads(path.read_bytes())
        own = facts["making"].pop("own")
        paths = {name: place and Path(place) for name, place in (own or {}).items()}
        making = Making(**facts.pop("making"), own=Own(**paths) if own else None)
        catalog = facts.pop("catalog")
        return Job(making=making, catalog=Path(catalog) if catalog else None, **facts)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{path} is damaged, or of another version of medshards"
        raise MachineError(f"{what}; end its jobs with scancel, remove it, and build again") from error


def done(out: Path, slug: str) -> dict[int, Done]:
    """The finished units, by number."""
    return {
        int(path.stem): Done(**json.loads(path.read_bytes())) for path in folder_of(out, slug).glob("*.done")
    }


def encode_unit(out: Path, slug: str, number: int, workers: int) -> Done:
    """Encode a unit with `workers` processes, unless it is finished. Raises MachineError as a build does."""
    if number in (known := done(out, slug)):
        return known[number]
    job = read_job(out, slug)
    assert job is not None
    policy = policy_of(entry_of(slug, job), job.making)
    packs = out / WORK / slug / PACKS / f"{number:06d}"
    earlier = {o.case: o for part in parts(packs) for o in finished(part)}
    tasks = [
        (case, earlier[case.key].input_key if case.key in earlier else known)
        for case, known in read_unit(out, slug, number)
    ]
    samples, rejects = 0, Counter[str]()
    for found in run(encode_case, tasks, workers, kills, worker_setup(packs, policy, job.making)):
        outcome = earlier.get(found) if isinstance(found, str) else found
        if outcome is not None:  # otherwise it is in the published shards
            samples += len(outcome.entries)
            rejects.update(row["code"] for row in outcome.rejects)
    made = Done(len(tasks), samples, dict(rejects))
    write_atomically(folder_of(out, slug) / f"{number:06d}.done", json.dumps(asdict(made)).encode())
    return made


def entry_of(slug: str, job: Job) -> Entry:
    """The catalog entry of the dataset that is built."""
    return load_catalog(extra=[job.catalog] if job.catalog else [])[slug]


def new_job(making: Making, catalog: Path | None, cuts: Sequence[int]) -> Job:
    """The job of the units between these cuts, which begins now."""
    return Job(making, catalog, len(cuts) - 1, cuts[-1], time.time())
