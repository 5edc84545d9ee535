"""Volumes in HDF5 files, read slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import blame, require_file
from medshards.curate.formats.volumes.container import Stack
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from medshards.curate.volumes import check_size

BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises on damaged files


@contextmanager
def open_stack(file: File, key: str) -> Iterator[Stack]:
    """The three-dimensional dataset `key` of a file; its first axis is the slice.

    Raises Reject (`unreadable`, `lfs_pointer`, `missing_dataset`, `external_data`, `not_3d`, `too_large`,
    `unsupported_dtype`).
    """
    require_file(file)
    with blame(file, *BROKEN):
        handle = h5py.File(file.path, "r", locking=False)
    with handle:
        with blame(file, *BROKEN):
            dataset = _dataset(handle, key)
            shape = tuple(dataset.shape)
            check_size(shape)
            check_size(dataset.chunks or shape)
        depth = dataset.chunks[0] if dataset.chunks else 1

        @lru_cache(maxsize=1)  # neighbouring slices share chunks, which are decompressed once
        def band(number: int) -> NDArray[Any]:
            return np.asarray(dataset[number * depth : (number + 1) * depth])

        yield Stack(file, shape, lambda index: band(index // depth)[index % depth], BROKEN)


def _dataset(handle: h5py.File, key: str) -> h5py.Dataset:
    link = handle.get(key, getlink=True)
    if link is None:
        raise Reject("missing_dataset", f"has no {key!r}; it holds: {', '.join(handle)}")
    if not isinstance(link, h5py.HardLink):
        raise Reject("external_data", f"{key!r} is a link; only data of the file itself are read")
    dataset = handle[key]
    if not isinstance(dataset, h5py.Dataset):
        raise Reject("missing_dataset", f"{key!r} is a group, not a dataset")
    if dataset.external or dataset.is_virtual:
        raise Reject("external_data", f"{key!r} keeps its data in other files")
    if dataset.ndim != 3:
        raise Reject("not_3d", f"{key!r} has shape {dataset.shape}, expected three axes")
    if dataset.dtype.kind not in "iuf":
        raise Reject("unsupported_dtype", f"{key!r} holds {dataset.dtype}, expected numbers")
    return dataset
