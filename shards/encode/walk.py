"""The way from a case of a download to encoded samples: the same in a build, a dry run, a check and a test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from medshards.common.machine import MachineError, machine_error
from medshards.common.text import printable
from medshards.curate.listing import RejectRow, reject_row
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, by_name
from medshards.shards.encode.policy import Policy
from medshards.shards.encode.record import Encoded, Origin, encode

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Walked(Generic[Kept]):
    """What became of a case.

    samples: what was kept of each. skips: (file, reason) of what was left out. rejects: what was refused.
    """

    samples: tuple[Kept, ...] = ()
    skips: tuple[tuple[str, str], ...] = ()
    rejects: tuple[RejectRow, ...] = ()


def walk(
    source: Source,
    policy: Policy,
    case: Case,
    keep: Callable[[Sample, Encoded], Kept],
    origin: Sequence[Origin] | None = None,
) -> Walked[Kept]:
    """Load a case and encode its samples one after the other; `keep` says what is kept of one.

    Of a case that fails as a whole, by whatever error, no sample is kept: nothing in it can be trusted. origin: of
    the case, where it is known already. Raises MachineError when the machine is to blame.
    """
    samples: list[Kept] = []
    skips: list[tuple[str, str]] = []
    rejects: list[RejectRow] = []
    try:
        origin = origin_of(case) if origin is None else origin
        for item in source.load(case):
            made = encode(item, policy, origin) if isinstance(item, Sample) else item
            if isinstance(item, Sample) and isinstance(made, Encoded):
                samples.append(keep(item, made))
            elif isinstance(made, Skip):
                skips.append((made.file, made.reason))
            elif isinstance(made, Reject):
                if machine_error(made):
                    raise made
                rejects.append(reject_row(case.key, made))
    except Exception as error:  # an unforeseen error of one case must not lose the others
        samples, rejects = [], [refusal(source, case, error)]
    return Walked(tuple(samples), tuple(skips), tuple(rejects))


def refusal(source: Source, case: Case, error: Exception) -> RejectRow:
    """The error as a refusal of the whole case; where it names no file, the case's first one is named.

    Raises MachineError when the machine is to blame.
    """
    where = next(iter(case.files.values())).name
    if trouble := machine_error(error):
        said = by_name(str(trouble), case.files.values())
        raise MachineError(said, place="" if trouble.place else printable(where)) from error
    if isinstance(error, Reject):
        return reject_row(case.key, Reject(error.code, error.message, error.file or where))
    said = "" if source.private_names else f": {error}"  # it may quote a path
    return reject_row(case.key, Reject("failed", f"{type(error).__name__}{said}", where))


def origin_of(case: Case) -> list[Origin]:
    """Role, name and SHA-256 of the files of a case. Raises Reject when one cannot be read."""
    return [{"role": role, "file": printable(f.name), "sha256": _digest(f)} for role, f in case.files.items()]


def _digest(file: File) -> str:
    """SHA-256 of a file; of a file in parts that of the sorted SHA-256s (hex) of its parts."""
    if file.parts:
        parts = sorted(_digest(File(file.name, part)) for part in file.parts)
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    try:
        stat = file.path.stat()
        return _sha256(str(file.path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise Reject("unreadable", f"cannot be read ({error.strerror})", file.name) from error


@lru_cache(maxsize=64)  # a large file that many cases share is digested once a process
def _sha256(path: str, size: int, mtime: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
