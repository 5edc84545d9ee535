"""What a worker process does: walk through a case, and keep its samples or only their figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from medshards.common.memory import keep_freed
from medshards.curate.listing import reject_row
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Own, Source, get_source
from medshards.shards.encode import tar
from medshards.shards.encode.policy import Policy
from medshards.shards.encode.record import Encoded, Origin, json_bytes
from medshards.shards.encode.stage import Outcome, Packed, PackWriter
from medshards.shards.encode.walk import Walked, origin_of, refusal, walk


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
    keep_freed()
    source = copy(get_source(policy.slug, own))
    source.slices = policy.slices
    _worker = _Worker(source, policy, code, PackWriter(packs) if packs is not None else None)


def encode_case(task: tuple[Case, str]) -> Outcome | str:
    """Encode one case into the pack, or return its key when the known input key shows that it is finished."""
    case, known = task
    writer = _worker.writer
    assert writer is not None
    try:
        origin = origin_of(case)
        input_key = _input_key(case, origin, _worker.policy, _worker.code)
    except Exception as error:
        return writer.finish(case.key, "", Walked(rejects=(refusal(_worker.source, case, error),)))
    if input_key == known:
        return case.key

    def keep(sample: Sample, encoded: Encoded) -> Packed:
        return writer.add(case.key, input_key, encoded)

    return writer.finish(case.key, input_key, walk(_worker.source, _worker.policy, case, keep, origin))


class Figures(NamedTuple):
    """What a sample comes to: instances, bytes in a shard."""

    instances: int
    size: int


def try_case(case: Case) -> Walked[Figures]:
    """Encode one case and keep only the figures."""
    return walk(_worker.source, _worker.policy, case, _figures)


def _figures(sample: Sample, encoded: Encoded) -> Figures:
    record = len(tar.member("record", json_bytes(encoded.record)))
    return Figures(len(encoded.record["instances"]), len(encoded.blob) + record)


def trial_kills(case: Case) -> Walked[Figures]:
    """What `try_case` comes to for a case whose process died again and again."""
    return Walked(rejects=kills((case, "")).rejects)


def kills(task: tuple[Case, str]) -> Outcome:
    """What becomes of a case whose process died again and again."""
    case, _ = task
    message = "the process that reads it dies every time (a crash in a decoder, or out of memory)"
    where = next(iter(case.files.values())).name
    return Outcome(case.key, "", (), (reject_row(case.key, Reject("kills_worker", message, where)),), ())


def _input_key(case: Case, origin: Sequence[Origin], policy: Policy, code: Mapping[str, str]) -> str:
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
