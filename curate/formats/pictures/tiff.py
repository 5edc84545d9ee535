"""TIFF pictures, with their pixels as stored: Pillow turns them by their orientation, and masks do not know of it."""

from __future__ import annotations

import io
import logging
import struct
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from medshards.curate.formats.pictures import exif
from medshards.curate.formats.pictures.errors import PictureError, check_pixels

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BROKEN = (  # what tifffile raises on damaged files
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    struct.error,
    tifffile.TiffFileError,
)
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is said in a Reject


class Tiff(NamedTuple):
    """The one picture of a file.

    pixels: H×W or H×W×C as stored; bool for 1-bit pictures; white is the greatest value.
    palette: N×3 uint8 where the pixels are indices.
    """

    pixels: NDArray[Any]
    palette: NDArray[np.uint8] | None
    orientation: int


def read(data: bytes) -> Tiff:
    """Read a file of one grey, palette or RGB picture.

    Three samples a pixel are RGB also where the file says they are grey, as CVC-ClinicDB's do; where it says CMYK or
    another colour space, it is refused. Raises PictureError (`unreadable`, `too_large`, `unsupported_image`).
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if len(file.pages) != 1:
                raise PictureError(f"holds {len(file.pages)} pages, expected one", "unsupported_image")
            page = file.pages.first
            check_pixels(page.imagewidth, page.imagelength)
            if page.is_tiled:
                check_pixels(page.tilewidth, page.tilelength)
            if page.samplesperpixel > 4 or page.imagedepth != 1:
                message = f"holds {page.samplesperpixel} channels in {page.imagedepth} layers; grey or RGB is expected"
                raise PictureError(message, "unsupported_image")
            ends = [at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
            if not all(page.databytecounts) or max(ends, default=0) > len(data):
                raise PictureError("is damaged or cut short: it does not hold all of its strips")
            return _pixels(page)
    except PictureError:
        raise
    except BROKEN as error:
        raise PictureError(f"is damaged or cut short: {error}") from error


def _pixels(page: tifffile.TiffPage) -> Tiff:
    kind, jpeg = page.photometric, page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)
    known = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
    if kind not in known and not (kind == PHOTOMETRIC.YCBCR and jpeg):
        raise PictureError(
            f"has colours of kind {kind!r}; grey, a palette or RGB is expected", "unsupported_image"
        )
    pixels = page.asarray()
    if page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "biuf":
        message = f"holds {pixels.dtype} of shape {pixels.shape}; rows and columns of numbers are expected"
        raise PictureError(message, "unsupported_image")
    if kind == PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "bu":
        pixels = ~pixels if pixels.dtype == bool else np.iinfo(pixels.dtype).max - pixels
    palette = None
    if kind == PHOTOMETRIC.PALETTE:
        if page.colormap is None or pixels.dtype != np.uint8:
            raise PictureError(
                "has a palette that cannot be read; 8-bit indices are expected", "unsupported_image"
            )
        shift = 8 if page.colormap.max() > 255 else 0  # some writers keep 8-bit colours in 16 bits
        palette = (page.colormap.T >> shift).astype(np.uint8)
    tag = page.tags.get(exif.ORIENTATION)
    return Tiff(pixels, palette, exif.checked(int(tag.value)) if tag else exif.AS_STORED)
