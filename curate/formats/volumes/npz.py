"""NumPy .npz files, zip archives of arrays. Pickled objects are refused; sizes are checked before anything is read."""

from __future__ import annotations

import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from medshards.curate.formats.files import blame, require_file
from medshards.curate.formats.volumes.nifti import BOMB, MAX_DEFLATE
from medshards.curate.formats.volumes.npy import BROKEN
from medshards.curate.sample import Reject
from medshards.curate.tree import File

MAX_BYTES = 1 << 31  # of an array
MAX_NAMES = 1000  # arrays of a file
DAMAGED = (*BROKEN, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError)
HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def read_arrays(file: File, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of these names that are in a file: numbers alone.

    Raises Reject (`unreadable`, `lfs_pointer`, `unsupported_dtype`, `too_large`, `truncated`, `expands_too_far`).
    """
    require_file(file)
    with blame(file, *DAMAGED), zipfile.ZipFile(file.path) as archive:
        members = {info.filename: info for info in archive.infolist()[:MAX_NAMES]}
        size = file.path.stat().st_size
        found = {name: members[f"{name}.npy"] for name in names if f"{name}.npy" in members}
        return {name: _array(archive, member, size) for name, member in found.items()}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> NDArray[Any]:
    """An array of an archive of `size` bytes."""
    with archive.open(member) as stream:
        version = npy_format.read_magic(stream)
        if version not in HEADERS:
            raise Reject("unreadable", f"{member.filename} is of the npy version {version}")
        shape, _, dtype = HEADERS[version](stream)
        if dtype.kind not in "biuf":
            raise Reject("unsupported_dtype", f"{member.filename} holds {dtype}; numbers are expected")
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if needed > MAX_BYTES:
        raise Reject("too_large", f"{member.filename} claims the shape {shape}, {needed >> 20} MiB")
    if needed > size * MAX_DEFLATE:
        raise Reject(
            "truncated", f"{member.filename} claims {needed} bytes, a file of {size} cannot hold them"
        )
    if needed > BOMB[0] and needed > BOMB[1] * size:
        message = (
            f"{member.filename} is {needed >> 20} MiB in a file of {size >> 10} KiB: nothing can be in it"
        )
        raise Reject("expands_too_far", message)
    with archive.open(member) as stream:
        return np.asarray(npy_format.read_array(stream, allow_pickle=False))
