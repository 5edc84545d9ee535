"""What decides the bytes of a corpus beside its inputs: the code, by where it lies, and the libraries' versions.

A file counts because of the room it lies in, so none can be forgotten; what only lists, shows or draws is named in
ASIDE. Part of every cache key: whatever changes here redoes what it made.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import medshards
from medshards.curate.source import Own, get_source
from medshards.shards.encode.imports import own_modules

ROOT = Path(medshards.__file__).parent
ENCODING = ("common", "vocab", "curate", "shards/encode")  # from a file of a download to an encoded sample
ASSEMBLING = ("shards/build", "shards/view")  # from encoded samples to shards, tables and picture
ASIDE = (
    "common/console.py",
    "vocab/cli.py",
    "vocab/concepts.yaml",  # the texts that a dataset uses are in its policy
    "curate/catalog",  # the entry is in the policy, too
    "curate/cli",
    "curate/phantoms",
    "shards/view/html.py",  # pages, their plots, and the overview of a whole corpus: made from what is published
    "shards/view/overview.py",
    "shards/view/plot.py",
)
# Distributions that decode, resize, draw or compress what becomes a sample; OpenCV comes under several names.
LIBRARIES = (
    "deflate",
    "h5py",
    "imagecodecs",
    "isal",
    "nibabel",
    "numpy",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
    "opencv-python",
    "opencv-python-headless",
    "pillow",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "scipy",
    "simplejpeg",
    "tifffile",
)
TABLES = (*LIBRARIES, "pyarrow")  # decide splits, by likeness, and the bytes of the tables


def encoding_files(slug: str, own: Own | None = None, root: Path = ROOT) -> list[Path]:
    """The files whose content decides the samples of a dataset, below the package `root` and of the converter."""
    if own is not None:
        converter = [own.code, *own_modules(own.code)]
    elif (root / "curate/datasets" / slug).is_dir():
        converter = list(_files(root / "curate/datasets" / slug))
    else:  # of an installed package: all beside it
        converter = list(_files(Path(inspect.getfile(type(get_source(slug)))).parent))
    return [*_room_files(root, ENCODING), *converter]


def assembling_files(root: Path = ROOT) -> list[Path]:
    """The files whose content decides how encoded samples become shards and tables."""
    return _room_files(root, ASSEMBLING)


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.parent.name}/{path.name}".encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def code(slug: str, own: Own | None = None) -> dict[str, str]:
    """What of the code and the libraries decides a dataset's samples: digest of the files, and versions."""
    return {"files": digest_of(encoding_files(slug, own)), **versions(LIBRARIES)}


@cache
def assembly() -> dict[str, str]:
    """What of the code and the libraries decides how samples are put together: digest of the files, and versions."""
    return {"files": digest_of(assembling_files()), **versions(TABLES)}


def _room_files(root: Path, rooms: Iterable[str]) -> list[Path]:
    # One of them is added.
    datasets = (path for path in (root / "curate/datasets").iterdir() if path.is_dir())
    aside = {*(root / name for name in ASIDE), *datasets}
    files = (path for room in rooms for path in _files(root / room))
    return [path for path in files if aside.isdisjoint((path, *path.parents))]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path
