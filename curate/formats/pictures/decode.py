"""From the bytes of a picture to its numbers: JPEG, PNG, TIFF, BMP, GIF, PNM.

JPEG and PNG, the bulk of all data, are read by the fastest strict decoders. What a file is, is decided by its first
bytes and never by its name. Nothing is resized, recoloured or turned.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from medshards.curate.formats.pictures import exif, jpeg, png, tiff
from medshards.curate.formats.pictures.errors import PictureError, check_pixels

OTHERS = ("BMP", "GIF", "PPM", "PNG")  # what Pillow reads, of PNG those with a palette
PIL.Image.MAX_IMAGE_PIXELS = None  # `check_pixels` is asked instead, which warns nobody and refuses
FULL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # a pixel that lets nothing through


@dataclass(frozen=True, eq=False)
class Picture:
    """The numbers of a picture as stored.

    pixels: H×W or H×W×3 (RGB), uint8, uint16 or whatever numbers a TIFF holds; 1-bit pictures are 0 and 255.
    indices: H×W, the numbers behind the colours of a picture with a palette.
    plain: bytes that hold these pixels and nothing else but what decoding needs, where every viewer shows them so.
    opaque: False where a pixel is not fully opaque, or would not be in a viewer.
    orientation: of Exif or TIFF, 1 to 8; 1 is as stored.
    """

    pixels: NDArray[Any]
    indices: NDArray[np.uint8] | None = None
    plain: bytes | None = None
    opaque: bool = True
    orientation: int = exif.AS_STORED


def decode(data: bytes) -> Picture:
    """The picture in a file. Raises PictureError (`unreadable`, `too_large`, `unsupported_image`)."""
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:8] == png.SIGNATURE:
        return _png(data)
    if data[:4] in tiff.SIGNATURES:
        return _tiff(data)
    return _other(data)


def check_kind(header: jpeg.Header) -> None:
    """Raise PictureError (`unsupported_image`) for a JPEG that is neither grey nor RGB, or not of 8 bits."""
    if header.channels == 4:
        raise PictureError("is a CMYK JPEG; save it as RGB or grey", "unsupported_image")
    if header.depth != 8 or header.channels not in (1, 3):
        message = f"is a {header.depth}-bit JPEG of {header.channels} channels; 8 bits and 1 or 3 channels are expected"
        raise PictureError(message, "unsupported_image")


def _jpeg(data: bytes) -> Picture:
    header = jpeg.read_header(data)
    check_kind(header)
    plain = jpeg.bare(data, header) if header.ordinary else None
    pixels, turn = jpeg.decode(plain or data, header.channels), jpeg.orientation(data, header)
    return Picture(pixels, plain=plain, orientation=turn)


def _png(data: bytes) -> Picture:
    header = png.read_header(data)
    turn = png.orientation(data, header)
    if header.color == png.PALETTE:
        picture = _other(png.bare(data, header, png.PIXELS + png.COLORS)[0])
        return Picture(picture.pixels, picture.indices, None, picture.opaque, turn)
    bare, left = png.bare(data, header)
    pixels, exact = png.decode_exact(bare, left)
    key = png.transparent(data, header) if header.color in (png.GREY, png.RGB) else None
    if header.color in (png.GREY_ALPHA, png.RGBA):
        opaque = _full(pixels[:, :, -1])
        pixels = np.ascontiguousarray(pixels[:, :, 0] if header.color == png.GREY_ALPHA else pixels[:, :, :3])
    elif key is not None:
        scale = 255 // ((1 << header.depth) - 1) if header.depth < 8 else 1
        opaque = not (np.atleast_3d(pixels) == np.array(key) * scale).all(axis=2).any()
    else:
        opaque = True
    usual = header.depth == 8 and header.color in (png.GREY, png.RGB)
    plain = bare if usual and opaque and exact else None
    return Picture(pixels, None, plain, opaque, turn)


def _tiff(data: bytes) -> Picture:
    pixels, palette, turn = tiff.read(data)
    if pixels.dtype == bool:
        pixels = np.where(pixels, np.uint8(255), np.uint8(0))
    if palette is not None:
        return Picture(palette[pixels], pixels, orientation=turn)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    opaque = channels in (1, 3) or _full(pixels[:, :, -1])
    if channels in (1, 2):
        pixels = pixels.reshape(*pixels.shape[:2], channels)[:, :, 0]
    pixels = np.ascontiguousarray(pixels[:, :, :3] if channels > 2 else pixels)
    return Picture(pixels, opaque=opaque, orientation=turn)


def _full(alpha: NDArray[Any]) -> bool:
    return bool(alpha.dtype in FULL and alpha.min() == FULL[alpha.dtype])


def _other(data: bytes) -> Picture:
    try:
        picture: PIL.Image.Image = PIL.Image.open(io.BytesIO(data), formats=OTHERS)
        check_pixels(*picture.size)
        frames = getattr(picture, "n_frames", 1)
        picture.load()
    except PIL.UnidentifiedImageError as error:
        raise PictureError(f"is no picture that can be read (first bytes {data[:8]!r})") from error
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(f"cannot be decoded: {error}") from error
    if frames != 1:
        raise PictureError(f"holds {frames} frames, expected one", "unsupported_image")
    opaque = "transparency" not in picture.info or _full(np.asarray(picture.convert("RGBA"))[:, :, 3])
    if picture.mode == "P":
        return Picture(np.array(picture.convert("RGB")), np.array(picture), opaque=opaque)
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode in ("RGBA", "RGB", "L"):
        return Picture(np.array(picture), opaque=opaque)
    raise PictureError(
        f"has pixels of Pillow mode {picture.mode!r}; grey or RGB is expected", "unsupported_image"
    )
