"""What numbers in a file may be: pixels, or labels. Whatever does not clearly fit is refused, never rounded away."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.sample import Reject
from medshards.curate.tree import File


def as_bytes(pixels: NDArray[Any], file: File) -> NDArray[np.uint8]:
    """Pixels of an image stored as any number from 0 to 255, as uint8; fractions are rounded.

    Raises Reject (`unsupported_image`) for a value outside that range, and for pixels that are all below 1 or equal
    to it, with fractions among them: they were divided by 255 (or by who knows what), and rounding leaves black.
    """
    if pixels.dtype == np.uint8:
        return np.asarray(pixels)
    low, high = pixels.min(), pixels.max()
    # written so that NaN fails as well
    if not (low >= 0 and high <= 255):
        message = f"holds pixels from {low:g} to {high:g}; 0 to 255 are expected"
        raise Reject("unsupported_image", message, file.name)
    whole: NDArray[np.uint8] = np.rint(pixels).astype(np.uint8)
    if high <= 1 and (whole != pixels).any():
        message = f"holds fractions from {low:g} to {high:g}; pixels from 0 to 255 are expected"
        raise Reject("unsupported_image", message, file.name)
    return whole


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
