"""List what a download holds: the cases of its converter, what is refused, what is passed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypedDict

from medshards.common.machine import MachineError, machine_error
from medshards.common.text import printable
from medshards.curate.identify import looks_like
from medshards.curate.sample import Reject, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Tree, by_name, list_files
from medshards.curate.unpack import CLOSED, SUFFIXES, is_archive


class RejectRow(TypedDict):
    """A line of rejects.jsonl: what was refused (case: "" where it became none), why by code, and in words."""

    case: str
    file: str
    code: str
    message: str


@dataclass(frozen=True)
class Listing:
    """What `discover` found in a download."""

    trees: list[Tree]
    cases: list[Case]
    skips: list[tuple[str, str]]
    rejects: list[RejectRow]


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
    listing = Listing(trees, [], [], [])
    seen: dict[str, str] = {}
    accounted: set[Path] = set()
    for tree in trees:
        named: set[str] = set()
        read: set[str] = set()
        for item in _discover(source, tree):
            if isinstance(item, Case):
                read.update(file.name for file in item.files.values())
                accounted.update(path for file in item.files.values() for path in (file.path, *file.parts))
            else:
                named.add(item.file)
                named.update(item.also if isinstance(item, Reject) else ())
            if isinstance(item, Skip):
                listing.skips.append((item.file, item.reason))
            elif isinstance(item, Reject):
                listing.rejects.append(reject_row("", item))
            elif make_key(item.key) != item.key:
                where = next(iter(item.files.values())).name
                unsafe = Reject("unsafe_key", f"case key {item.key!r} is none that make_key gives", where)
                listing.rejects.append(reject_row(make_key(item.key), unsafe))
            elif item.key in seen:
                where = next(iter(item.files.values())).name
                again = Reject(
                    "duplicate_key", f"is a second {item.key}; the first is {seen[item.key]}", where
                )
                listing.rejects.append(reject_row(item.key, again))
            else:
                seen[item.key] = next(iter(item.files.values())).name
                listing.cases.append(item)
        strays = list(_strays(tree, source.ignored, read, named))
        listing.rejects.extend(reject_row("", stray) for stray in strays)
        named.update(stray.file for stray in strays)
        accounted.update(file.path for file in tree.files.values() if file.name in named)
        accounted.update(file.path for pattern in source.ignored for file in tree.glob(pattern))
    listing.rejects.extend(reject_row("", folder) for folder in _unread(root, trees, accounted))
    listing.cases.sort(key=lambda case: case.key)
    if not listing.cases and not listing.rejects:
        raise Reject(
            "no_samples", f"the layout was recognised ({trees[0].layout.title}), and no sample is in it"
        )
    return listing


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


def _strays(tree: Tree, ignored: tuple[str, ...], read: set[str], named: set[str]) -> Iterator[Reject]:
    """A refusal for each file that lies beside files that are read, is of their kind, and was passed over.

    So an image under a name that the dataset does not have is never lost without a word.
    """
    kinds = {(name.rpartition("/")[0], PurePosixPath(name).suffix.lower()) for name in read}
    known = read | named | {file.name for pattern in ignored for file in tree.glob(pattern)}
    for file in tree.files.values():
        if file.name not in known and (file.name.rpartition("/")[0], file.suffix) in kinds:
            yield Reject("unknown_name", "no name of this dataset; it was not read", file.name)


def _unread(root: Path, trees: list[Tree], accounted: set[Path]) -> Iterator[Reject]:
    """A refusal for each folder with archives that were neither opened nor accounted for, with their number.

    So an archive beside unpacked parts is never lost without a word.
    """
    files = {file.name: file for tree in trees for file in tree.files.values()}
    if all(tree.base for tree in trees):  # what lies beside them; a tree with base "" holds everything
        lying = list_files(root)
        opened = not files.keys() <= lying.keys()  # then the archives are what was read
        files = {name: f for name, f in lying.items() if not (opened and is_archive(f.path))} | files
    unread: dict[str, list[str]] = {}
    for name, file in sorted(files.items()):
        if file.path not in accounted and name.lower().endswith((*SUFFIXES, *CLOSED)):
            unread.setdefault(name.rpartition("/")[0], []).append(name)
    for folder, names in unread.items():
        example = PurePosixPath(names[0]).name
        what = f"{len(names)} archives beside the recognised files were not read, such as {example}"
        message = f"{what}: unpack them there"
        yield Reject("unread", message, folder or names[0])


def reject_row(case: str, reject: Reject) -> RejectRow:
    """A line of rejects.jsonl."""
    return {
        "case": case,
        "file": printable(reject.file),
        "code": reject.code,
        "message": printable(reject.message),
    }
