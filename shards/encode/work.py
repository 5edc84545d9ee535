"""What a worker process does: digest the files of a case, read it, encode its samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from medshards.common.machine import MachineError, machine_error
from medshards.common.text import printable
from medshards.curate.listing import reject_row
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Own, Skip, Source, get_source
from medshards.curate.tree import File
from medshards.shards.encode import tar
from medshards.shards.encode.policy import Policy
from medshards.shards.encode.record import Encoded, encode, json_bytes
from medshards.shards.encode.stage import Outcome, PackWriter


@dataclass
class _Worker:
    source: Source
    policy: Policy
    code: Mapping[str, str]
    writer: PackWriter | None  # None: nothing is kept


_worker: _Worker


def start_worker(policy: Policy, code: Mapping[str, str], packs: Path | None, own: Own | None = None) -> None:
    """Prepare this process for `encode_case` (packs: folder for the encoded samples) or `try_case` (None)."""
    global _worker
    source = copy(get_source(policy.slug, own))
    source.slices = policy.slices
    _worker = _Worker(source, policy, code, PackWriter(packs) if packs is not None else None)


def encode_case(task: tuple[Case, str]) -> Outcome | str:
    """Encode one case into the pack, or return its key when the known input key shows that it is finished."""
    case, known = task
    writer = _worker.writer
    assert writer is not None
    rejects: list[dict[str, str]] = []
    skips: list[tuple[str, str]] = []
    input_key = ""
    try:
        origin = _origin(case)
        input_key = _input_key(case, origin, _worker.policy, _worker.code)
        if input_key == known:
            return case.key
        for item in _encoded(case, origin):
            if isinstance(item, Encoded):
                writer.add(case.key, input_key, PurePosixPath(origin[0]["file"]).name, item)
            elif isinstance(item, Skip):
                skips.append((item.file, item.reason))
            else:
                rejects.append(reject_row(case.key, item))
    except Exception as error:  # an unforeseen error of one case must not lose the others
        writer.drop()
        rejects = [reject_row(case.key, _as_reject(error, case))]
    return writer.finish(case.key, input_key, rejects, skips)


@dataclass(frozen=True)
class Trial:
    """What one case would come to: samples, instances, bytes in the shards, what is left out or refused."""

    samples: int
    instances: int
    size: int
    skips: tuple[tuple[str, str], ...]
    rejects: tuple[dict[str, str], ...]


def try_case(case: Case) -> Trial:
    """Encode one case and keep only the figures."""
    encoded: list[tuple[int, int]] = []
    skips: list[tuple[str, str]] = []
    rejects: list[dict[str, str]] = []
    try:
        for item in _encoded(case, _origin(case)):
            if isinstance(item, Encoded):
                record = len(tar.member("record", json_bytes(item.record)))
                encoded.append((len(item.record["instances"]), len(item.blob) + record))
            elif isinstance(item, Skip):
                skips.append((item.file, item.reason))
            else:
                rejects.append(reject_row(case.key, item))
    except Exception as error:
        encoded, rejects = [], [reject_row(case.key, _as_reject(error, case))]
    instances, size = (sum(column) for column in zip(*encoded, strict=True)) if encoded else (0, 0)
    return Trial(len(encoded), instances, size, tuple(skips), tuple(rejects))


def trial_kills(case: Case) -> Trial:
    """The trial of a case whose process died again and again."""
    return Trial(0, 0, 0, (), kills((case, "")).rejects)


def _encoded(case: Case, origin: list[dict[str, str]]) -> Iterator[Encoded | Skip | Reject]:
    for item in _worker.source.load(case):
        yield encode(item, _worker.policy, origin) if isinstance(item, Sample) else item


def kills(task: tuple[Case, str]) -> Outcome:
    """What becomes of a case whose process died again and again."""
    case, _ = task
    message = "the process that reads it dies every time (a crash in a decoder, or out of memory)"
    where = next(iter(case.files.values())).name
    return Outcome(case.key, "", (), (reject_row(case.key, Reject("kills_worker", message, where)),), ())


def _as_reject(error: Exception, case: Case) -> Reject:
    """The error as a refusal of the case; a Reject that names no file gets the case's first one.

    Raises MachineError when the machine is to blame.
    """
    where = next(iter(case.files.values())).name
    if trouble := machine_error(error):
        raise MachineError(f"{printable(where)}: {trouble}") from error
    if isinstance(error, Reject):
        return Reject(error.code, error.message, error.file or where)
    return Reject("failed", f"{type(error).__name__}: {error}", where)


def _origin(case: Case) -> list[dict[str, str]]:
    """Role, name and SHA-256 of the files of a case."""
    return [{"role": role, "file": printable(f.name), "sha256": _digest(f)} for role, f in case.files.items()]


def _input_key(case: Case, origin: list[dict[str, str]], policy: Policy, code: Mapping[str, str]) -> str:
    decided = {
        "key": case.key,
        "origin": origin,
        "group": case.group,
        "split": case.split,
        "facts": dict(case.facts),
        "policy": policy.digest,
        "code": dict(code),
    }
    return hashlib.sha256(json_bytes(decided)).hexdigest()


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
