"""Files that hold many pictures: what the readers of HDF5, TIFF, MetaImage and npy share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures.raster import LFS
from medshards.curate.sample import Reject
from medshards.curate.tree import File


@contextmanager
def blame(file: File, *broken: type[Exception]) -> Iterator[None]:
    """Name `file` in a Reject that names none, and turn errors of the kinds `broken` into a Reject (`unreadable`)."""
    try:
        yield
    except Reject as reject:
        reject.file = reject.file or file.name
        raise
    except broken as error:
        raise Reject("unreadable", f"is damaged or cut short: {error}", file.name) from error


def require_file(file: File) -> None:
    """Raise Reject (`unreadable`, `lfs_pointer`) for missing, empty and Git-LFS pointer files."""
    with blame(file, OSError), file.path.open("rb") as stream:
        start = stream.read(len(LFS))
    if not start:
        raise Reject("unreadable", "the file is empty (0 bytes)", file.name)
    if start == LFS:
        raise Reject("lfs_pointer", "is a Git-LFS pointer, not the file: run `git lfs pull`", file.name)


@dataclass(frozen=True, eq=False)
class Stack:
    """A volume whose slices are read one by one, when asked for.

    shape: (slices, rows, columns).
    read: slice number → H×W integers or reals.
    broken: errors of `read` that mean a damaged file.
    """

    file: File
    shape: tuple[int, int, int]
    read: Callable[[int], NDArray[Any]]
    broken: tuple[type[Exception], ...] = (OSError, ValueError)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> NDArray[Any]:
        """A slice, H×W. Raises Reject (`unreadable`) where the file is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        with blame(self.file, *self.broken):
            return self.read(index)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def annotated(self) -> list[int]:
        """Number of non-zero pixels of each slice."""
        return [int(np.count_nonzero(values)) for values in self]


def require_same_shape(labels: Stack, image: Stack) -> None:
    """Raise Reject (`size_mismatch`) unless the labels have the shape of their image."""
    if labels.shape != image.shape:
        message = f"the labels are {labels.shape} (slices, rows, columns), their image {image.shape}"
        raise Reject("size_mismatch", message, labels.file.name)


def as_bytes(pixels: NDArray[Any], file: File) -> NDArray[np.uint8]:
    """Pixels of an image stored as any number from 0 to 255, as uint8; fractions are rounded.

    Raises Reject (`unsupported_image`) for a value outside that range.
    """
    if pixels.dtype == np.uint8:
        return np.asarray(pixels)
    # written so that NaN fails as well
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        message = f"holds pixels from {pixels.min():g} to {pixels.max():g}; 0 to 255 are expected"
        raise Reject("unsupported_image", message, file.name)
    return np.rint(pixels).astype(np.uint8)


def as_labels(values: NDArray[Any], file: File) -> NDArray[Any]:
    """Class values or ids in an integer type; reals, as which some tools store them, must be whole.

    Raises Reject (`label_not_integer`) for fractions, and for values below zero.
    """
    if values.dtype.kind == "f":
        if not (values == np.trunc(values)).all() or abs(values).max(initial=0) > np.iinfo(np.int32).max:
            raise Reject("label_not_integer", "holds values that are not whole numbers", file.name)
        values = values.astype(np.int32)
    if values.dtype.kind == "i" and values.min(initial=0) < 0:
        raise Reject("label_not_integer", f"holds {values.min()}; labels begin at 0", file.name)
    return np.asarray(values)
