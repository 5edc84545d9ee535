"""Build a dataset: find its cases, encode what is new in any order, split, assemble, publish.

Everything unfinished lives in OUT/.work/<slug>, which is gone at the end. What an earlier run finished, in that
folder or in the published shards, is used again when it is as it was written and the case's input key is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medshards.common.files import locked, sync
from medshards.curate.catalog.entry import Entry as CatalogEntry
from medshards.curate.listing import RejectRow
from medshards.curate.sample import Reject
from medshards.shards.build import place
from medshards.shards.build.assemble import assemble
from medshards.shards.build.engine import Engine, run
from medshards.shards.build.ledger import Ledger
from medshards.shards.build.manifest import (
    LOCK,
    REJECTS,
    SCHEMA,
    CaseCounts,
    Decided,
    Manifest,
    built_profile,
    tool_version,
)
from medshards.shards.build.place import WORK
from medshards.shards.build.progress import ProgressFile
from medshards.shards.build.published import Published
from medshards.shards.build.split import Plan, plan
from medshards.shards.build.survey import survey, worker_setup
from medshards.shards.encode.code import assembly, code
from medshards.shards.encode.policy import SEED, VAL_FRACTION, Making
from medshards.shards.encode.record import json_bytes
from medshards.shards.encode.work import encode_case, kills


@dataclass(frozen=True)
class Result:
    """What a build of one dataset came to."""

    slug: str
    encoded: int  # cases encoded in this run
    reused: int  # cases taken from earlier work
    changed: bool  # False when the dataset was already up to date
    rejects: list[RejectRow]
    manifest: Manifest

    @property
    def samples(self) -> int:
        """Number of samples of the dataset."""
        return self.manifest["counts"]["samples"]


def build_dataset(
    entry: CatalogEntry,
    root: Path,
    out: Path,
    making: Making = Making(),  # noqa: B008 (frozen)
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    engine: Engine = run,
) -> Result:
    """Build one dataset from the download at `root` into OUT/<slug>.

    progress(stage, done, total) is called as work proceeds, which `workers` processes do. engine: where they run.

    Raises Reject when the download cannot be used at all, something else lies in the way or another build is at work
    on this dataset, MachineError and OSError for trouble of the machine; then what was published stays as it is.
    """
    place.require_apart(root, out)
    place.require_own(out, entry.slug)
    with place.held(out, entry.slug):
        return _build(entry, root, out, making, workers, progress, engine)


def _build(
    entry: CatalogEntry,
    root: Path,
    out: Path,
    making: Making,
    workers: int,
    progress: Callable[[str, int, int], None],
    engine: Engine,
) -> Result:
    checkers = workers if workers > 1 else 0  # reading is no danger to this process
    found = survey(entry, root, out, making, checkers, progress)
    policy, listing, published = found.policy, found.listing, found.published
    ledger, done, reused, total = Ledger(), 0, 0, len(listing.cases)
    packs = out / WORK / entry.slug / place.PACKS
    kept = ProgressFile(out / WORK / entry.slug, total)
    tasks, setup = kept.giving(found.tasks()), worker_setup(packs, policy, making)
    for outcome in engine(encode_case, tasks, workers, kills, setup):
        if known := isinstance(outcome, str):
            outcome = found.earlier.outcome(outcome)
        ledger.add(outcome)
        done, reused = done + 1, reused + known
        kept.add(outcome, encoded=not known)
        progress("encode", done, total)
    skips = Counter(reason for _, reason in listing.skips)
    partly: dict[str, dict[str, int]] = {}
    for case, reasons in ledger.skips():
        skips.update(reasons)
        if ledger.outcome(case).entries:
            partly[case] = dict(reasons)
    refused = [*listing.rejects, *ledger.rejects(), *ledger.settle()]
    rejects = sorted(refused, key=lambda r: (r["case"], r["file"], r["code"], r["message"]))
    planned = plan(ledger, policy, published.moved)
    cases: CaseCounts = {"cases": total, "skipped": dict(skips)}
    head: Decided = {
        "schema": SCHEMA,
        "dataset": entry.slug,
        "tool": tool_version(),
        "code": code(entry.slug, making.own),
        "assembly": assembly(),
        "policy": policy.facts(),
        "split": {
            "seed": SEED,
            "val_fraction": VAL_FRACTION,
            "shard_bytes": making.shard_bytes,
            "moved": published.moved,
        },
        "inputs": ledger.inputs(),
        "layouts": found.layouts,
        "partly_skipped": partly,
    }
    manifest = _same(published, head, cases, rejects)
    changed = manifest is None
    if manifest is None:
        samples = len(ledger)
        ticks = iter(range(1, samples + 1))
        manifest = put_together(
            out, entry.slug, making.profile, planned, rejects, head, cases,
            lambda: progress("assemble", next(ticks), samples),
        )  # fmt: skip
    place.clear(out, entry.slug)
    return Result(entry.slug, done - reused, reused, changed, rejects, manifest)


def _same(
    published: Published, head: Decided, cases: CaseCounts, rejects: Sequence[RejectRow]
) -> Manifest | None:
    """The manifest of the published dataset when that, whole, is what this build would make."""
    old = published.manifest
    if old is None or not published.complete:
        return None
    counted = old["counts"].items() >= cases.items()
    if not counted or not old.items() >= head.items():
        return None
    told = (published.folder / REJECTS).read_bytes()
    return old if told == b"".join(json_bytes(r) for r in rejects) else None


def put_together(
    out: Path,
    slug: str,
    profile: str,
    planned: Plan,
    rejects: Sequence[RejectRow],
    head: Decided,
    cases: CaseCounts,
    tick: Callable[[], None] = lambda: None,
) -> Manifest:
    """Assemble a dataset and publish it; its manifest. tick: called for every sample. Raises Reject as `publish`."""
    assembled = out / WORK / slug / place.ASSEMBLED
    place.clear(out, slug, place.ASSEMBLED)
    assembled.mkdir(parents=True)
    manifest = assemble(assembled, planned, rejects, head, cases, tick)
    publish(out, slug, profile)
    return manifest


def publish(out: Path, slug: str, profile: str) -> None:
    """Put the assembled folder, safe on the disk, in the place of the old one; `place.recover` mends a kill between.

    Raises Reject when something that no build wrote, or a corpus of another profile, came there meanwhile.
    """
    work, final = out / WORK / slug, out / slug
    assembled = work / place.ASSEMBLED
    for path in [*assembled.rglob("*"), assembled]:
        sync(path)
    with locked(out / LOCK):
        require_profile(out, profile)
        place.require_own(out, slug)
        if final.exists():
            final.replace(work / place.OLD)
        assembled.replace(final)
        sync(out)


def require_profile(out: Path, profile: str, called: str = "") -> None:
    """Raises Reject when the corpus was built with another profile. called: what to call it."""
    built = built_profile(out)
    if built not in (None, profile):
        raise Reject("profile", f"{called or out} was built with --profile {built}; choose another folder")
