"""The volume of a file whose suffix tells its format."""

from __future__ import annotations

from contextlib import AbstractContextManager

from medshards.curate.formats.volumes import hdf5, tiffstack
from medshards.curate.formats.volumes.container import Stack
from medshards.curate.tree import File


def open_stack(file: File, key: str) -> AbstractContextManager[Stack]:
    """The pages of a TIFF file (`.tif`), or the dataset `key` of an HDF5 file. Raises Reject as their readers do."""
    return tiffstack.open_stack(file) if file.suffix == ".tif" else hdf5.open_stack(file, key)
