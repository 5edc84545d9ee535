"""Dry run: what a download is, and what a build would make of it. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medshards.curate.catalog.entry import Entry
from medshards.curate.listing import list_download
from medshards.curate.source import get_source
from medshards.shards.build.engine import Setup, run
from medshards.shards.build.survey import policy_of
from medshards.shards.encode.policy import Making
from medshards.shards.encode.work import start_worker, trial_kills, try_case


def inspect_download(
    entry: Entry,
    root: Path,
    making: Making = Making(),  # noqa: B008 (frozen)
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Read and encode every case of the download at `root` and keep only the figures.

    Returns slug, root, layouts [{title, base}], cases, samples, instances, bytes (of the shards), skipped
    {reason: n}, ignored {reason: n}, rejects [rows]. Raises Reject when the download is not that dataset.
    """
    source = get_source(entry.slug, making.own)
    listing = list_download(source, root)
    policy = policy_of(entry, making)
    counts: Counter[str] = Counter()
    rejects, skips = list(listing.rejects), Counter(reason for _, reason in listing.skips)
    total = len(listing.cases)
    setup: Setup = (start_worker, (policy, {}, None, making.own))
    for done, trial in enumerate(run(try_case, listing.cases, workers, trial_kills, setup), start=1):
        counts["samples"] += len(trial.samples)
        counts["instances"] += sum(sample.instances for sample in trial.samples)
        counts["bytes"] += sum(sample.size for sample in trial.samples)
        rejects += trial.rejects
        skips.update(reason for _, reason in trial.skips)
        progress("read", done, total)
    return {
        "slug": entry.slug,
        "root": str(root),
        "layouts": [{"title": t.layout.title, "base": t.base} for t in listing.trees],
        "cases": total,
        **{name: counts[name] for name in ("samples", "instances", "bytes")},
        "skipped": dict(sorted(skips.items())),
        "ignored": dict(sorted(listing.ignored.items())),
        "rejects": sorted(rejects, key=lambda r: (r["case"], r["file"], r["code"], r["message"])),
    }
