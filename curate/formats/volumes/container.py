"""Files that hold many pictures: what the readers of HDF5, TIFF, MetaImage and npy share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import blame
from medshards.curate.sample import Reject
from medshards.curate.tree import File


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
