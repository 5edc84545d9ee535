"""What a build finds before it encodes anything: the cases of the download, and what of them is finished already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from medshards.curate.catalog.entry import Entry
from medshards.curate.listing import Listing, list_download
from medshards.curate.source import Case, get_source, vocabulary_of
from medshards.shards.build import place
from medshards.shards.build.engine import Setup, run
from medshards.shards.build.ledger import Ledger
from medshards.shards.build.published import Published
from medshards.shards.encode.code import code
from medshards.shards.encode.policy import Making, Policy
from medshards.shards.encode.stage import Outcome, Part, finished, parts
from medshards.shards.encode.work import start_worker

Task = tuple[Case, str]  # and the input key under which it is finished, "" when it is not


@dataclass(frozen=True)
class Survey:
    """What is there to build from.

    listing: of the download; its trees, which hold the name of every file, are gone. layouts: their titles.
    published: what OUT/<slug> holds. earlier: the finished cases, in shards and in packs.
    """

    policy: Policy
    listing: Listing
    layouts: list[str]
    published: Published
    earlier: Ledger

    def tasks(self) -> Iterator[Task]:
        """Every case, for `encode_case`."""
        for case in self.listing.cases:
            yield case, self.earlier.input_key(case.key)


def survey(
    entry: Entry,
    root: Path,
    out: Path,
    making: Making,
    checkers: int,
    progress: Callable[[str, int, int], None],
) -> Survey:
    """List the download and prove what earlier builds left; `checkers` processes read it (0: this one)."""
    work = out / place.WORK / entry.slug
    policy = policy_of(entry, making)
    place.recover(out, entry.slug)
    listing = list_download(get_source(entry.slug, making.own), root)
    layouts = sorted({tree.layout.title for tree in listing.trees})
    listing = replace(listing, trees=[])
    published = Published(out / entry.slug, checkers, progress)
    earlier = published.outcomes(work / "published.meta", listing.rejects)
    for found in run(finished, parts(work / place.PACKS), checkers, _nothing):
        for outcome in found:
            earlier.add(outcome)
    return Survey(policy, listing, layouts, published, earlier)


def policy_of(entry: Entry, making: Making) -> Policy:
    """The policy under which a dataset is built."""
    return Policy.of(entry, making, get_source(entry.slug, making.own).labels, vocabulary_of(making.own))


def worker_setup(packs: Path, policy: Policy, making: Making) -> Setup:
    """What prepares a process, on this machine or another, for `encode_case`; packs: folder for what it encodes."""
    return start_worker, (policy, code(policy.slug, making.own), packs, making.own)


def _nothing(part: Part) -> list[Outcome]:
    return []
