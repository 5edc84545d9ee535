"""A downloaded tree: its files by name, and which known layout it has.

The tree is listed once. Layouts are recognised by patterns of paths, wherever in the tree they stand, so
it does not matter into how many folders an archive was unpacked. Archives that were not unpacked are.
"""

from __future__ import annotations

import filecmp
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medshards.common.below import Below
from medshards.common.glob import SPECIAL, compiled, readable
from medshards.common.machine import MachineError
from medshards.common.text import printable
from medshards.curate.sample import Reject
from medshards.curate.unpack import CLOSED, is_archive, unpack

JUNK = {".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", ".git", ".ipynb_checkpoints"}
NOTES = {"", ".txt", ".md", ".pdf", ".html"}
MAX_DEPTH = 6  # folders between the given root and the folder that a layout describes


@dataclass(frozen=True, slots=True, init=False, eq=False)
class File:
    """A file of a download; small, for a listing holds some hundred thousand. Two are the same that lie in one place.

    name: path relative to the download's root, with '/'; what records and messages show.
    parts: files that count as one (the slices of a DICOM series); `place` is the first of them.
    """

    name: str
    parts: tuple[Path, ...]
    _start: str  # of the place; `_end` is the name where the place ends with it, so that text is there once
    _end: str

    def __init__(self, name: str, place: str | Path, parts: tuple[Path, ...] = ()) -> None:
        start, end = str(place), ""
        if start.endswith(f"/{name}"):
            start, end = sys.intern(start.removesuffix(name)), name
        for field, value in (("name", name), ("parts", parts), ("_start", start), ("_end", end)):
            object.__setattr__(self, field, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and self.place == other.place

    def __hash__(self) -> int:
        return hash(self.place)

    def __lt__(self, other: File) -> bool:
        return (self.name, self.place) < (other.name, other.place)

    def renamed(self, name: str) -> File:
        """The same file under another name."""
        return File(name, self.place, self.parts)

    @property
    def place(self) -> str:
        """Where it lies on this machine, as text, which takes half the memory of a Path."""
        return self._start + self._end

    @property
    def path(self) -> Path:
        """Where it lies on this machine."""
        return Path(self.place)

    @property
    def stem(self) -> str:
        """File name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Last suffix in lower case, with the dot."""
        return PurePosixPath(self.name).suffix.lower()


@dataclass(frozen=True)
class Layout:
    """A distribution of a dataset, described by the files it must hold.

    title: what people call it ("Kaggle", "official zip").
    needs: patterns (`common.glob`) relative to the folder described, which is the outermost that fits where one
        begins with `**/`; every one must match a file.
    """

    title: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """The files below one folder that has a known layout.

    base: that folder, relative to the root ("" for the root itself).
    files: by path relative to `base`.
    download: all files of the download, also those outside the folder, by path relative to the root.
    """

    layout: Layout
    base: str
    files: Mapping[str, File]
    download: dict[str, File]

    def glob(self, pattern: str) -> list[File]:
        """Files whose path relative to the base matches, sorted by name."""
        return list(self.paths(pattern).values())

    def paths(self, pattern: str) -> dict[PurePosixPath, File]:
        """The same by the path relative to the base, which is as published even where the file's name is not."""
        match = compiled(pattern).fullmatch
        return {PurePosixPath(path): file for path, file in self.files.items() if match(path)}

    def anywhere(self, pattern: str) -> list[File]:
        """The same as `glob`; a pattern that begins with `**/` finds files outside the base, too."""
        match = compiled(pattern).fullmatch
        files = self.download if pattern.startswith("**/") else self.files
        return [file for path, file in files.items() if match(path)]

    def get(self, path: str) -> File | None:
        """The file at a path relative to the base, or None."""
        return self.files.get(path)


def list_files(root: Path) -> dict[str, File]:
    """All files below `root` by relative path, sorted; junk left out. A single file is listed by its name.

    Raises MachineError for a folder that cannot be listed.
    """
    if root.is_file():
        return {root.name: File(root.name, root)}
    found: dict[str, File] = {}
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, onerror=_stop, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [f for f in folders if f not in JUNK]
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix, place = "" if relative == "." else relative + "/", os.path.join(folder, "")  # noqa: PTH118
        for name in names:
            if name not in JUNK and not name.startswith("._"):
                path = prefix + name
                found[path] = File(path, place + name)
    return dict(sorted(found.items()))


def by_name(text: str, files: Iterable[File]) -> str:
    """The text with the name of each file in place of its path, which may tell of a patient."""
    for file in files:
        for path in (file.path, *file.parts):
            text = text.replace(str(path), file.name)
    return text


def _stop(error: OSError) -> None:
    """A folder that cannot be listed would be lost without a word."""
    raise MachineError(
        f"cannot be listed ({error.strerror}); mend that first", str(error.filename)
    ) from error


def recognise(files: dict[str, File], layouts: tuple[Layout, ...]) -> list[Tree]:
    """Every place at which one of the layouts fits, the outermost and first-listed winning within a folder."""
    trees: list[Tree] = []
    for layout in layouts:
        for base in _bases(files, layout):
            inside = any(
                base.startswith(t.base) or t.base.startswith(base) for t in trees if t.layout is not layout
            )
            if not inside:
                trees.append(Tree(layout, base, Below(files, base), files))
    return trees


def _bases(files: dict[str, File], layout: Layout) -> list[str]:
    """The folders in which every pattern matches; with `**/`, which also fits from each folder above, the outermost."""
    candidates: set[str] | None = None
    for pattern in layout.needs:
        match, literal = compiled(pattern).fullmatch, max(SPECIAL.split(pattern)[::2], key=len)
        likely = (
            path for path in files if literal in path
        )  # most are not, and this is much faster than matching
        found = {path[:start] for path in likely for start in _starts(path) if match(path, start)}
        candidates = found if candidates is None else candidates & found
        if not candidates:
            return []
    bases = sorted(candidates or ())
    if any("**/" in pattern for pattern in layout.needs):
        bases = [b for b in bases if not any(b != outer and b.startswith(outer) for outer in bases)]
    return bases


def _starts(path: str) -> list[int]:
    """Where in a path the part relative to each folder above it begins."""
    return [0, *(m.end() for m in re.finditer("/", path))][: MAX_DEPTH + 1]


def open_download(
    root: Path, layouts: tuple[Layout, ...], describe: Callable[[dict[str, File]], str] | None = None
) -> list[Tree]:
    """Recognise the download at `root`: a folder at any level of the unpacked tree, or the archive itself.

    describe: what to say of a tree that is not recognised; `outline` unless given.

    Raises Reject (`not_found`, `empty`, `not_recognised`, `corrupt_archive`, `unsafe_archive`) that says what
    was looked for and what was found.
    """
    if not root.exists():
        raise Reject("not_found", f"no such file or folder: {root}")
    for files in views(root):
        if trees := recognise(files, layouts):
            return trees
    if trees := recognise_above(root, layouts):
        return trees
    wanted = "; or ".join(f"{la.title}: {', '.join(map(readable, la.needs))}" for la in layouts)
    closed = [name for name in files if name.lower().endswith(CLOSED)]
    advice = (
        f". {closed[0]} cannot be unpacked here: unpack it with 7-Zip or unrar, where it lies"
        if closed
        else ""
    )
    raise Reject(
        "not_recognised", f"looked for {wanted}. Found below {root}: {(describe or outline)(files)}{advice}"
    )


def views(root: Path) -> Iterator[dict[str, File]]:
    """The files of a download as they lie; then with its archives opened in place, then each in a folder of its own.

    Raises Reject (`empty`, `corrupt_archive`, `unsafe_archive`).
    """
    files = list_files(root)
    if not files:
        raise Reject("empty", f"the folder {root} holds no files")
    yield files
    if any(is_archive(file.path) for file in files.values()):
        yield _with_archives_opened(files, apart=False)
        yield _with_archives_opened(files, apart=True)


def _with_archives_opened(files: dict[str, File], apart: bool, depth: int = 2) -> dict[str, File]:
    """The same files with the members of every archive in its place, archives in archives too.

    Members lie as if unpacked where the archive lies or, `apart`, into a folder of the archive's name. Nothing comes
    back when two archives hold different files of one name, which can only lie apart; of notes (a README in each
    archive) the first is kept.
    """
    opened: dict[str, File] = {}
    for name, file in files.items():
        found = {name: file}
        if is_archive(file.path) and depth:
            folder = re.sub(r"(\.tar)?\.[^./]+$", "/", name) if apart else name[: name.rfind("/") + 1]
            members = list_files(unpack(file.path, name))
            found = {folder + member: File(folder + member, inner.place) for member, inner in members.items()}
            if any(is_archive(inner.path) for inner in members.values()):
                found = _with_archives_opened(found, apart, depth - 1)
        for path, inner in found.items():
            other = files.get(path) or opened.get(path)
            if other is None or path == name:
                opened[path] = inner
            elif inner.suffix not in NOTES and not filecmp.cmp(other.path, inner.path, shallow=False):
                if not apart:
                    return {}
                raise Reject("duplicate_file", f"another file of that name is in {name}", path)
    return dict(sorted(opened.items()))


def recognise_above(root: Path, layouts: tuple[Layout, ...]) -> list[Tree]:
    """The layouts that stand in the folder above `root`: the user pointed one folder too deep."""
    above = root.resolve().parent
    fitting = [la for la in layouts if all(any(above.glob(_wider(p))) for p in la.needs)]
    if not root.is_dir() or not fitting:
        return []
    return [tree for tree in recognise(list_files(above), tuple(fitting)) if tree.base == ""]


def _wider(pattern: str) -> str:
    """A pattern that pathlib understands and that matches at least as much."""
    parts = re.sub(r"\[[^]]+\]\+|\{[^}]+\}", "*", pattern.removeprefix("**/")).split("/")
    return "/".join(part if part == "**" else re.sub(r"\*+", "*", part) for part in parts)


def outline(files: dict[str, File], most: int = 8) -> str:
    """A few words on what a tree holds: folders with the number and kind of their files."""
    kinds: dict[tuple[str, str], int] = {}
    for name in files:
        folder, _, leaf = name.rpartition("/")
        kinds[folder, PurePosixPath(leaf).suffix] = kinds.get((folder, PurePosixPath(leaf).suffix), 0) + 1
    shown = [f"{printable(folder) or '.'}/*{suffix} ({n})" for (folder, suffix), n in sorted(kinds.items())]
    return ", ".join(shown[:most]) + (f", and {len(shown) - most} more kinds" if len(shown) > most else "")
