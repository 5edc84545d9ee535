"""Mend leaks: whole groups move to the most held out split that a sample tied to them stands in.

Nothing is encoded again: the shards are put together anew from the bytes that are there. The manifest keeps what was
moved (`split.moved`), so a later build of the dataset leaves it where it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from medshards.curate.sample import Reject
from medshards.shards.build import index, place
from medshards.shards.build.corpus import write_corpus
from medshards.shards.build.dataset import put_together
from medshards.shards.build.manifest import REJECTS, CaseCounts, Decided, read_corpus
from medshards.shards.build.published import Published
from medshards.shards.build.split import SPLITS, Plan
from medshards.shards.prove.audit import Leak

Moves = dict[str, dict[str, str]]  # split to go to, by dataset and group


def moves(found: Iterable[Leak]) -> Moves:
    """Which groups must move so that none of the leaks is left: each to the most held out split of its leak."""
    wanted: Moves = {}
    for leak in found:
        target = max((split for _, _, split in leak.groups), key=SPLITS.index)
        for dataset, group, split in leak.groups:
            if split != target:
                wanted.setdefault(dataset, {})[group] = target
    return wanted


def move(out: Path, wanted: Moves) -> None:
    """Move groups of the corpus at `out`, dataset by dataset, each whole or not at all.

    Raises Reject (`profile` where the paper's split by image is reproduced, `damaged`, `locked`).
    """
    corpus = read_corpus(out)
    assert corpus is not None
    if corpus["profile"] != "default":
        raise Reject(
            "profile", "profile paper reproduces a split by image, and its leaks with it; nothing is moved"
        )
    for slug, moved in sorted(wanted.items()):
        with place.held(out, slug):
            _move(out, slug, moved, corpus["profile"])
        write_corpus(out, corpus["profile"], corpus["vocabulary"])


def _move(out: Path, slug: str, moved: Mapping[str, str], profile: str) -> None:
    place.require_own(out, slug)
    place.recover(out, slug)
    work, published = out / place.WORK / slug, Published(out / slug, 0)
    manifest = published.manifest
    if manifest is None or not published.complete:
        raise Reject(
            "damaged", f"{out / slug} is not as it was built; run `medshards verify`, then build it again"
        )
    samples = published.outcomes(work / "published.meta", [])
    rows = sorted(
        (row["key"], moved.get(row["group"], row["split"]), row["group"])
        for row in index.read_rows(out / slug / index.INDEX, ["key", "group", "split"])
    )
    planned = Plan(samples, [split for _, split, _ in rows], [group for _, _, group in rows])
    rejects = [json.loads(line) for line in (out / slug / REJECTS).read_text(encoding="utf-8").splitlines()]
    head = cast(Decided, {name: manifest[name] for name in Decided.__annotations__})  # type: ignore[literal-required]
    head["split"] = {**head["split"], "moved": {**published.moved, **moved}}
    cases: CaseCounts = {"cases": manifest["counts"]["cases"], "skipped": manifest["counts"]["skipped"]}
    put_together(out, slug, profile, planned, rejects, head, cases)
    place.clear(out, slug)
