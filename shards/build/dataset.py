"""Build a dataset: find its cases, encode what is new in any order, split, assemble, publish.

Everything unfinished lives in OUT/.work, which is gone at the end. What an earlier run finished, in that
folder or in the published shards, is used again when the case's input key is still the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medshards.curate.catalog.entry import Entry as CatalogEntry
from medshards.curate.listing import list_download, reject_row
from medshards.curate.sample import Reject
from medshards.curate.source import Own, code_digest, get_source
from medshards.shards.build import index
from medshards.shards.build.assemble import SHARD_BYTES, assemble
from medshards.shards.build.engine import run
from medshards.shards.build.manifest import REJECTS, SCHEMA, read_manifest, tool_version
from medshards.shards.build.split import plan
from medshards.shards.encode.policy import SEED, SLICES, VAL_FRACTION, Policy, Profile
from medshards.shards.encode.record import json_bytes
from medshards.shards.encode.stage import BlobReader, Entry, Outcome, finished, meta_bytes
from medshards.shards.encode.work import encode_case, start_worker
from medshards.vocab.vocabulary import Vocabulary

WORK = ".work"


@dataclass
class Result:
    """What a build of one dataset came to."""

    slug: str
    samples: int = 0
    encoded: int = 0  # cases encoded in this run
    reused: int = 0  # cases taken from earlier work
    changed: bool = True  # False when the dataset was already up to date
    rejects: list[dict[str, str]] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)


def build_dataset(
    entry: CatalogEntry,
    root: Path,
    out: Path,
    profile: Profile = "default",
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    slices: str = SLICES,
    max_side: int | None = None,
    own: Own | None = None,
) -> Result:
    """Build one dataset from the download at `root` into OUT/<slug>.

    progress(stage, done, total) is called as work proceeds. slices: which slices of a volume (curate.slices).
    max_side: larger images are made smaller, to so many px. own: where a converter outside the tree is.

    Raises Reject when the download cannot be used at all, engine.WorkerDied when a worker process is lost; then
    what was published before stays as it is.
    """
    source = get_source(entry.slug, own)
    policy = Policy.of(entry, profile, source.labels, Vocabulary.load(), slices, max_side)
    work, final = out / WORK / entry.slug, out / entry.slug
    _recover(work, final)
    listing = list_download(source, root)
    code = code_digest(entry.slug, own)
    earlier = {o.case: o for o in _published(final, work, listing.rejects)}
    earlier.update({o.case: o for o in finished(work / "packs")})
    outcomes: list[Outcome] = []
    result = Result(entry.slug)
    tasks = ((case, earlier[case.key].input_key if case.key in earlier else "") for case in listing.cases)
    for outcome in run(encode_case, tasks, workers, start_worker, (policy, code, work / "packs", own)):
        if isinstance(outcome, str):
            outcomes.append(earlier[outcome])
            result.reused += 1
        else:
            outcomes.append(outcome)
            result.encoded += 1
        progress("encode", len(outcomes), len(listing.cases))
    entries, rejects = _unique(outcomes)
    result.rejects = sorted(
        [*listing.rejects, *rejects], key=lambda r: (r["case"], r["file"], r["code"], r["message"])
    )
    skips = Counter(reason for _, reason in [*listing.skips, *(s for o in outcomes for s in o.skips)])
    planned = plan(entries, policy)
    head = {
        "schema": SCHEMA,
        "dataset": entry.slug,
        "tool": tool_version(),
        "code": code,
        "policy": policy.facts(),
        "split": {"seed": SEED, "val_fraction": VAL_FRACTION, "shard_bytes": shard_bytes},
        "inputs": hashlib.sha256(json_bytes(sorted((o.case, o.input_key) for o in outcomes))).hexdigest(),
        "layouts": sorted({tree.layout.title for tree in listing.trees}),
        "counts": {"cases": len(listing.cases), "skipped": dict(skips)},
        "partly_skipped": {
            o.case: dict(Counter(r for _, r in o.skips)) for o in outcomes if o.entries and o.skips
        },
    }
    old = read_manifest(final)
    if old is not None and _same(old, head, final, result.rejects):
        result.changed, result.manifest = False, old
    else:
        assembled = work / "assembled"
        shutil.rmtree(assembled, ignore_errors=True)
        assembled.mkdir(parents=True)
        done = iter(range(1, len(planned) + 1))
        result.manifest = assemble(
            assembled,
            entry.slug,
            planned,
            result.rejects,
            head,
            shard_bytes,
            lambda: progress("assemble", next(done), len(planned)),
        )
        _publish(assembled, work, final)
    shutil.rmtree(work, ignore_errors=True)
    result.samples = result.manifest["counts"]["samples"]
    return result


def _unique(outcomes: Sequence[Outcome]) -> tuple[list[Entry], list[dict[str, str]]]:
    entries: dict[str, Entry] = {}
    rejects: list[dict[str, str]] = []
    for outcome in sorted(outcomes, key=lambda o: o.case):
        rejects += outcome.rejects
        for entry in outcome.entries:
            if entry.key in entries:
                message = f"sample {entry.key} was already made by case {entries[entry.key].case}"
                rejects.append(reject_row(entry.case, Reject("duplicate_key", message, entry.name)))
            else:
                entries[entry.key] = entry
    return list(entries.values()), rejects


def _same(old: dict[str, Any], head: dict[str, Any], final: Path, rejects: Sequence[dict[str, str]]) -> bool:
    """True when the published dataset is what this build would make."""
    facts = {**head, "counts": None}
    counts = all(old.get("counts", {}).get(k) == v for k, v in head["counts"].items())
    if not counts or any(old.get(k) != v for k, v in facts.items() if k != "counts"):
        return False
    written = final / REJECTS
    complete = all((final / s["file"]).is_file() for s in old["shards"]) and (final / index.INDEX).is_file()
    return complete and written.is_file() and written.read_bytes() == b"".join(json_bytes(r) for r in rejects)


def _publish(assembled: Path, work: Path, final: Path) -> None:
    """Put the assembled folder in the place of the old one; a kill between the two renames is mended by `_recover`."""
    if final.exists():
        final.replace(work / "old")
    assembled.replace(final)


def _recover(work: Path, final: Path) -> None:
    if not final.exists() and (work / "old").exists():
        (work / "old").replace(final)
    shutil.rmtree(work / "old", ignore_errors=True)


def _published(final: Path, work: Path, listed: Sequence[dict[str, str]]) -> Iterator[Outcome]:
    """The cases of an earlier build, read from its shards: their bytes are copied, not encoded again.

    listed: what listing the download refuses.
    """
    manifest = read_manifest(final)
    if manifest is None or not (final / index.INDEX).is_file() or not (final / REJECTS).is_file():
        return
    work.mkdir(parents=True, exist_ok=True)
    facts = work / "published.meta"
    cases: dict[str, list[Entry]] = {}
    source = BlobReader()
    with facts.open("wb") as out:
        for row in index.read_rows(final / index.INDEX):
            shard = str(final / row["shard"])
            record = json.loads(source.read(shard, row["json_offset"], row["json_size"]))
            record["group"] = row["own_group"]
            del record["split"]
            own = tuple(
                index.Member(m.suffix, m.offset - row["offset"], m.size, m.sha256)
                for m in index.members(row)[:-1]
            )
            meta = meta_bytes(record, own, row["table1_areas"])
            entry = Entry(
                key=row["key"],
                group=row["own_group"],
                fingerprint=row["fingerprint"],
                digest=bytes.fromhex(row["image_sha256"]),
                name=row["name"],
                official=row["official_split"],
                volume=row["volume"],
                case=row["case"],
                input_key=row["input_key"],
                source=shard,
                offset=row["offset"],
                size=index.blob_size(row),
                meta_source=str(facts),
                meta_offset=out.tell(),
                meta_size=len(meta),
            )
            out.write(meta)
            cases.setdefault(entry.case, []).append(entry)
    source.close()
    skipped = manifest.get("partly_skipped", {})
    rejected: dict[str, list[dict[str, str]]] = {}
    for line in (final / REJECTS).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row not in listed:  # which is told again anyway
            rejected.setdefault(row["case"], []).append(row)
    for case, entries in cases.items():
        skips = [("", reason) for reason, n in skipped.get(case, {}).items() for _ in range(n)]
        yield Outcome(case, entries[0].input_key, tuple(entries), tuple(rejected.get(case, ())), tuple(skips))


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock of a corpus folder: two builds must not write into one. Raises Reject when it is taken."""
    (out / WORK).mkdir(parents=True, exist_ok=True)
    path = out / WORK / "lock"
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Reject("locked", f"another build is writing into {out}") from error
        yield
        path.unlink(missing_ok=True)
    if not any((out / WORK).iterdir()):
        (out / WORK).rmdir()
