"""NumPy .npy files, memory-mapped: arrays larger than memory are read row by row. Pickled objects are refused."""

from __future__ import annotations

import sys
import tokenize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import blame, require_file
from medshards.curate.sample import Reject
from medshards.curate.tree import File

# what numpy raises on damaged headers, which it reads as Python literals
BROKEN = (OSError, ValueError, EOFError, OverflowError, SyntaxError, TypeError, tokenize.TokenError)


def open_array(file: File, ndim: int) -> NDArray[Any]:
    """The array of a file, mapped read-only: nothing but the header is read before rows are asked for.

    Raises Reject (`unreadable`, `lfs_pointer`, `unsupported_dtype`, `bad_shape`); a header that promises more
    than the file holds is `unreadable`.
    """
    require_file(file)
    with blame(file, *BROKEN):  # ValueError also: an object array (it would have to be unpickled)
        array = np.load(file.path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise Reject("unreadable", "is a zip of arrays (npz); a plain npy file is expected", file.name)
    if array.dtype.kind not in "biufU":
        raise Reject("unsupported_dtype", f"holds {array.dtype}; numbers or text are expected", file.name)
    if array.ndim != ndim:
        raise Reject("bad_shape", f"has shape {array.shape}; {ndim} dimensions are expected", file.name)
    if array.dtype.kind == "U" and array.size and _codes(array).max(initial=0) > sys.maxunicode:
        raise Reject("unreadable", "holds text with characters that do not exist", file.name)
    return array


def _codes(array: NDArray[Any]) -> NDArray[np.uint32]:
    """Code points of an array of text."""
    return np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
