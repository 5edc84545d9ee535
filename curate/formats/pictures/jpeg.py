"""JPEG files: what their headers say, strict decoding, removal of free text."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from medshards.curate.formats.pictures.png import MAX_PIXELS

_FREE_TEXT = {0xE1, 0xED, 0xFE}  # Exif and XMP, IPTC, comment: can carry a person's name
_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


class JpegError(ValueError):
    """The bytes are no complete, undamaged JPEG of a kind that can be read."""


@dataclass(frozen=True)
class Header:
    """What a JPEG says of itself, up to its first scan."""

    width: int
    height: int
    depth: int  # bits per sample
    channels: int  # 1 grey, 3 colour, 4 CMYK
    segments: tuple[tuple[int, int, int], ...]  # (marker, offset, whole length) before the first scan
    scan: int  # offset of the first scan

    @property
    def free_text(self) -> bool:
        """True when a segment could carry names, dates or comments."""
        return any(marker in _FREE_TEXT for marker, _, _ in self.segments)


def read_header(data: bytes) -> Header:
    """Read the segments before the first scan. Raises JpegError with the reason."""
    if data[:2] != b"\xff\xd8":
        raise JpegError("the JPEG signature is missing")
    at = 2
    segments = []
    frame: tuple[int, int, int, int] | None = None
    while True:
        while at + 1 < len(data) and data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1  # fill bytes
        if at + 4 > len(data):
            raise JpegError(f"truncated: {len(data)} bytes end before the first scan")
        if data[at] != 0xFF:
            raise JpegError(f"damaged: no marker at byte {at}")
        marker = data[at + 1]
        if marker in _NO_LENGTH:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _FRAMES:
            if at + 10 > len(data):
                raise JpegError("truncated in the frame header")
            depth, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            frame = (depth, height, width, channels)
        if marker == 0xDA:
            break
        segments.append((marker, at, 2 + length))
        at += 2 + length
    if frame is None:
        raise JpegError("damaged: a scan without a frame header")
    depth, height, width, channels = frame
    if not 0 < width * height <= MAX_PIXELS:
        raise JpegError(f"the header claims {width} x {height} px")
    return Header(width, height, depth, channels, tuple(segments), at)


def orientation(data: bytes, header: Header) -> int:
    """The Exif orientation (1 = as stored); viewers turn the picture by it, masks do not know of it."""
    for marker, at, size in header.segments:
        block = data[at + 4 : at + size]
        if marker != 0xE1 or block[:6] != b"Exif\0\0" or len(block) < 14:
            continue
        tiff = block[6:]
        order = "<" if tiff[:2] == b"II" else ">"
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        if start + 2 > len(tiff):
            continue
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == 0x0112:
                return int(value)
    return 1


def without_text(data: bytes, header: Header) -> bytes:
    """The same JPEG without Exif, XMP, IPTC and comments; the coded pixels are untouched."""
    kept = [data[at : at + size] for marker, at, size in header.segments if marker not in _FREE_TEXT]
    return data[:2] + b"".join(kept) + data[header.scan :]


def decode(data: bytes, channels: int) -> NDArray[np.uint8]:
    """Decode to uint8 H×W (channels 1) or H×W×3 RGB. Premature ends and damage raise JpegError."""
    try:
        if channels == 1:
            return simplejpeg.decode_jpeg(data, colorspace="GRAY")[:, :, 0]
        return simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError as error:
        raise JpegError(f"damaged or truncated: {error}") from error


def decode_eighth(data: bytes) -> NDArray[np.uint8]:
    """Decode to RGB at an eighth of the size (one pixel a block of 8×8), which costs little. Raises JpegError."""
    try:
        return simplejpeg.decode_jpeg(data, colorspace="RGB", min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        raise JpegError(f"damaged or truncated: {error}") from error
