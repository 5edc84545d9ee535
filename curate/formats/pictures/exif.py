"""The orientation in Exif data, the one thing in them that pixels hang on."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIENTATION = 0x0112
AS_STORED = 1


def orientation(tiff: bytes) -> int:
    """The orientation (1 to 8) in Exif data, which are a TIFF file without picture; 1 where they tell none."""
    order = "<" if tiff[:2] == b"II" else ">"
    if len(tiff) < 8:
        return AS_STORED
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return AS_STORED
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == ORIENTATION:
            return checked(int(value))
    return AS_STORED


def checked(value: int) -> int:
    """The orientation itself, or 1 for a number that is none, as viewers take it."""
    return value if 1 <= value <= 8 else AS_STORED


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H×W or H×W×3) as a viewer shows them.

    Exif 2.3, tag 0x0112, says where row 0 and column 0 of the file belong; TIFF 6.0 says the same of tag 274.
    """
    if orientation > 4:  # the file's rows are the picture's columns
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # row 0 at the bottom
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):  # column 0 at the right
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
