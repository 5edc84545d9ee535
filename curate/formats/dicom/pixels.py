"""Stored pixel values of a DICOM object, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray
from pydicom.pixels import iter_pixels

from medshards.curate.formats.dicom.tags import Source, quiet
from medshards.curate.sample import Reject


def stored_frames(source: Source, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Decoded frames (H×W, stored type) in the order of `indices`, one array at a time.

    The whole object is read first: only then does pydicom check that the pixel data are as long as the
    header says (read from a path, a cut-off bit-packed object gives random bits).

    Raises: Reject `no_pixel_data`.
    """
    if not indices:
        return
    with quiet():
        pixels = iter_pixels(source.open(), indices=indices)
    while True:
        try:
            with quiet():
                values = next(pixels)
        except StopIteration:
            return
        except MemoryError:
            raise
        except Exception:  # pydicom and its decoders raise many kinds, some quote the header
            raise Reject(
                "no_pixel_data",
                "the pixel data are missing, cut off or in a transfer syntax that cannot be decoded",
                source.file.name,
            ) from None
        yield values
