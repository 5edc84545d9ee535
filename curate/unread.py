"""What lies in a download and nobody read: pictures and masks under other names, archives beside unpacked parts.

A folder under another spelling, another release's folder or a part that is still zipped is thus never lost without a
word. A converter says in `Source.ignored` of which files it knows, and why they are not read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

from medshards.curate.sample import Reject
from medshards.curate.tree import NOTES, File
from medshards.curate.unpack import CLOSED, SUFFIXES

PICTURES = {
    *(".png", ".jpg", ".jpeg", ".jp2", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm"),
    *(".dcm", ".ima", ".nii", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".h5", ".hdf5", ".mat", ".svs"),
}
SHOWN = 3  # names that a refusal gives of a folder's files


def unread(
    files: Mapping[str, File], read: Collection[File], named: Collection[File], loose: bool, private: bool
) -> Iterator[Reject]:
    """A refusal for each file among those read that is of their kind, then for each folder of others with their number.

    The outermost folder counts of those in which no file was read or named. Said are pictures, volumes, archives, and
    files of another kind that is read, such as outlines.

    files: the whole download by path. read: what became cases. named: what was skipped, refused or ignored.
    loose: archives alone are said, as in `Source.loose`.
    private: published names must not be quoted; the first file is then called by the name that the project gave it.
    """
    known = {
        folder for path, file in files.items() if file in read or file in named for folder in _folders(path)
    }
    kinds = {_kind(file) for file in files.values() if file in read}
    wanted = PICTURES | {suffix for _, suffix in kinds} - NOTES
    found: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for path, file in files.items():
        archive = path.lower().endswith((*SUFFIXES, *CLOSED))
        if file in read or file in named or (loose and not archive):
            continue
        if _kind(file) in kinds:
            yield Reject("unknown_name", "no name of this dataset; it was not read", file.name)
        elif archive or PurePosixPath(path.lower().removesuffix(".gz")).suffix in wanted:
            folder = next((f for f in _folders(path) if f not in known), path.rpartition("/")[0])
            found[folder, archive].append(path)
    for (folder, archives), paths in sorted(found.items()):
        first = files[paths[0]].name
        one = len(paths) == 1
        kind = "archive" if archives else "file"
        count = f"1 {kind} was" if one else f"{len(paths)} {kind}s were"
        shown = [PurePosixPath(path).name for path in paths[:SHOWN]] + ["…"] * (len(paths) > SHOWN)
        names = "" if private or (one and not folder) else f" ({', '.join(shown)})"
        unzip = "unpack it where it lies" if one else "unpack them where they lie"
        why = unzip if archives else "this dataset has none there under such a name"
        yield Reject("unread", f"{count} not read{names}: {why}", first if private else folder or first)


def _kind(file: File) -> tuple[str, str]:
    """Its folder and its suffix."""
    return os.path.dirname(file.place), file.suffix  # noqa: PTH120


def _folders(path: str) -> list[str]:
    """The folders that a path lies in, from the outermost on."""
    return [path[:end] for end, letter in enumerate(path) if letter == "/"]
