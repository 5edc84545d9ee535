"""List what a download holds: the cases of its converter, what is refused, what is passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from medshards.common.machine import MachineError, machine_error
from medshards.common.text import printable
from medshards.curate.cases import Cases
from medshards.curate.identify import looks_like
from medshards.curate.sample import Reject, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Tree, by_name
from medshards.curate.unread import unread


class RejectRow(TypedDict):
    """A line of rejects.jsonl: what was refused (case: "" where it became none), why by code, and in words."""

    case: str
    file: str
    code: str
    message: str


@dataclass(frozen=True)
class Listing:
    """What `discover` found in a download.

    skips: file and reason. ignored: number of files that the converter knows and does not read, by reason.
    """

    trees: list[Tree]
    cases: Cases
    skips: list[tuple[str, str]]
    rejects: list[RejectRow]
    ignored: Counter[str]


def list_download(source: Source, root: Path) -> Listing:
    """Recognise a download and list its cases.

    Raises Reject when it is not the dataset at all, with the name of the one that it looks like; MachineError when a
    file or folder that has to be read for that cannot be, and the machine is to blame.
    """
    try:
        trees = source.open(root)
    except Reject as reject:
        if reject.code == "not_recognised" and (other := looks_like(root)):
            raise Reject(reject.code, f"{reject.message}. {other}") from reject
        raise
    listing = Listing(trees, Cases(), [], [], Counter())
    read: set[File] = set()
    named: set[File] = set()
    for tree in trees:
        names: set[str] = set()
        for item in _discover(source, tree):
            if isinstance(item, Case):
                read.update(item.files.values())
                read.update(File("", part) for file in item.files.values() for part in file.parts)
                _take(listing, item)
                continue
            names.update((item.file, *item.also))
            if isinstance(item, Skip):
                listing.skips.append((item.file, item.reason))
            else:
                listing.rejects.append(reject_row("", item))
        named.update(file for file in tree.files.values() if file.name in names)
    for tree in trees:
        for pattern, reason in source.ignored.items():
            if known := set(tree.anywhere(pattern)) - read - named:
                listing.ignored[reason] += len(known)
                named |= known
    passed_over = unread(trees[0].download, read, named, source.loose, source.private_names)
    listing.rejects.extend(reject_row("", item) for item in passed_over)
    if not listing.cases and not listing.rejects:
        raise Reject(
            "no_samples", f"the layout was recognised ({trees[0].layout.title}), and no sample is in it"
        )
    return listing


def _take(listing: Listing, case: Case) -> None:
    """Add a case, or refuse it for its key."""
    where = next(iter(case.files.values())).name
    if make_key(case.key) != case.key:
        unsafe = Reject("unsafe_key", f"case key {case.key!r} is none that make_key gives", where)
        listing.rejects.append(reject_row(make_key(case.key), unsafe))
    elif first := listing.cases.get(case.key):
        name = next(iter(first.files.values())).name
        again = Reject("duplicate_key", f"is a second {case.key}; the first is {name}", where)
        listing.rejects.append(reject_row(case.key, again))
    else:
        listing.cases.add(case)


def _discover(source: Source, tree: Tree) -> Iterator[Case | Skip | Reject]:
    try:
        yield from source.discover(tree)
    except Exception as error:  # an unforeseen error is a line for the user, too
        if trouble := machine_error(error):
            raise MachineError(by_name(str(trouble), tree.files.values())) from error
        if isinstance(error, Reject):
            raise
        said = "" if source.private_names else f": {error}"
        raise Reject("failed", f"cannot be listed: {type(error).__name__}{said}") from error


def reject_row(case: str, reject: Reject) -> RejectRow:
    """A line of rejects.jsonl."""
    return {
        "case": case,
        "file": printable(reject.file),
        "code": reject.code,
        "message": printable(reject.message),
    }
