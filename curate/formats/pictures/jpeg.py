"""JPEG files: what their headers say, strict decoding, and the bytes that decoding needs.

Format: ITU-T T.81; JFIF: T.871; the Adobe segment: Adobe technical note 5116.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from medshards.curate.formats.pictures import exif
from medshards.curate.formats.pictures.errors import PictureError, check_pixels

_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = 0xC2
_ORDINARY = (0xC0, 0xC1, _PROGRESSIVE)  # Huffman coded with loss: what every viewer shows
_MAX_SCANS = 100  # each is decoded over the whole picture; progressive files have about ten
_TABLES, _QUANTA, _SCAN, _RESTART, _END = 0xC4, 0xDB, 0xDA, 0xDD, 0xD9
_JFIF, _ADOBE, _EXIF = 0xE0, 0xEE, 0xE1


class JpegError(PictureError):
    """The bytes are no complete, undamaged JPEG of a kind that can be read."""


@dataclass(frozen=True)
class Header:
    """What a JPEG says of itself.

    segments: (marker, offset, whole length) of all up to the end; a scan's coded pixels belong to its segment.
    """

    width: int
    height: int
    depth: int  # bits per sample
    channels: int  # 1 grey, 3 colour, 4 CMYK
    frame: int  # marker of the frame header
    segments: tuple[tuple[int, int, int], ...]

    @property
    def ordinary(self) -> bool:
        """True for what every viewer shows: 8 bits, grey or colour, baseline or progressive."""
        return self.depth == 8 and self.channels in (1, 3) and self.frame in _ORDINARY


def read_header(data: bytes) -> Header:
    """Walk all segments to the end of the picture. Raises JpegError with the reason."""
    if data[:2] != b"\xff\xd8":
        raise JpegError("the JPEG signature is missing")
    at = 2
    segments = []
    frame: tuple[int, int, int, int, int] | None = None
    ends: NDArray[np.intp] | None = None
    scans = 0
    while True:
        while at + 1 < len(data) and data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1  # fill bytes
        if at + 1 < len(data) and data[at] == 0xFF and data[at + 1] == _END:
            break
        if at + 4 > len(data):
            raise JpegError(f"truncated: {len(data)} bytes end before the picture does")
        if data[at] != 0xFF:
            raise JpegError(f"damaged: no marker at byte {at}")
        marker = data[at + 1]
        if marker in _NO_LENGTH:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        size = 2 + length
        if marker in _FRAMES and frame is None:
            if at + 10 > len(data):
                raise JpegError("truncated in the frame header")
            frame = (*struct.unpack_from(">BHHB", data, at + 4), marker)
            check_pixels(frame[2], frame[1], JpegError)
        if marker == _SCAN:
            if frame is None:
                raise JpegError("damaged: a scan without a frame header")
            ends = _scan_ends(data) if ends is None else ends
            following = int(np.searchsorted(ends, at + size))
            if following == len(ends):
                raise JpegError(f"truncated: {len(data)} bytes end within a scan")
            size = int(ends[following]) - at
            scans += 1
            if scans > _MAX_SCANS:
                raise JpegError(f"holds more than {_MAX_SCANS} scans", "too_large")
        segments.append((marker, at, size))
        at += size
    if frame is None or _SCAN not in [marker for marker, _, _ in segments]:
        raise JpegError("damaged: it holds no scan")
    depth, height, width, channels, kind = frame
    return Header(width, height, depth, channels, kind, tuple(segments))


def _scan_ends(data: bytes) -> NDArray[np.intp]:
    """Places of all bytes 0xFF that would end a scan: not those of coded pixels, of restarts and before a marker."""
    stream = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(stream[:-1] == 0xFF)
    following = stream[places + 1]
    ends: NDArray[np.intp] = places[(following != 0) & (following != 0xFF) & (following & 0xF8 != 0xD0)]
    return ends


def orientation(data: bytes, header: Header) -> int:
    """The Exif orientation (1 = as stored); viewers turn the picture by it, masks do not know of it."""
    for marker, at, size in header.segments:
        if marker == _EXIF and data[at + 4 : at + 10] == b"Exif\0\0":
            return exif.orientation(data[at + 10 : at + size])
    return exif.AS_STORED


def bare(data: bytes, header: Header) -> bytes:
    """The same picture without anything that decoding does not need; the coded pixels are untouched.

    What is kept: the frame and its scans, the tables that these use, the restart interval, and of JFIF and Adobe
    segments the few bytes that tell colours and pixel density. Names hide in all else: Exif, XMP, IPTC, comments, also
    between scans, colour profiles, previews, tables that nothing uses, unknown segments, what follows the end. No
    decoder used here applies a colour profile, so that dropping it changes no pixel.

    For an `ordinary` JPEG. Raises JpegError for one whose segments end too early.
    """
    try:
        parts = [list(_parts(data, *segment)) for segment in header.segments]
        used = _used(parts, header)
    except IndexError as error:
        raise JpegError("damaged: a segment is too short") from error
    kept = []
    for number, (segment, contents) in enumerate(zip(header.segments, parts, strict=True)):
        marker, at, size = segment
        left = [content for k, (_, content) in enumerate(contents) if (number, k) in used]
        if marker == _SCAN:
            kept.append(data[at : at + size])
        elif left:
            body = b"".join(left)
            kept.append(struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body)
    return data[:2] + b"".join(kept) + bytes((0xFF, _END))


_Part = tuple[str, bytes]  # what it defines, such as "quanta 0", and its bytes


def _parts(data: bytes, marker: int, at: int, size: int) -> Iterator[_Part]:
    """What a segment defines; nothing for one that decoding does not need."""
    body = data[at + 4 : at + size]
    if marker in _FRAMES or marker in (_SCAN, _RESTART):
        yield f"{marker:x}", body
    elif marker == _JFIF and body[:5] == b"JFIF\0" and len(body) >= 14:
        yield "jfif", body[:12] + bytes(2)  # a preview of 0 × 0 px
    elif marker == _ADOBE and body[:5] == b"Adobe" and len(body) >= 12:
        yield "adobe", body[:12]
    while body and marker == _QUANTA:
        length = 1 + 64 * (1 + (body[0] >> 4))
        yield f"quanta {body[0] & 15}", body[:length]
        body = body[length:]
    while body and marker == _TABLES:
        length = 17 + sum(body[1:17])
        yield f"code {body[0]}", body[:length]  # 0 to 3 for direct, 16 to 19 for alternating components
        body = body[length:]


def _used(parts: list[list[_Part]], header: Header) -> set[tuple[int, int]]:
    """Places (segment, part) of the definitions that are in force when a scan needs them."""
    latest: dict[str, tuple[int, int]] = {}
    used: set[tuple[int, int]] = set()
    quanta: dict[int, int] = {}  # of the components that no scan has begun; a component keeps its first table
    for number, (marker, _, _) in enumerate(header.segments):
        for k, (name, content) in enumerate(parts[number]):
            latest[name] = number, k
            if marker == header.frame:
                quanta = {content[c]: content[c + 2] for c in range(6, len(content) - 2, 3)}
            if marker == _SCAN:
                needed = [f"{header.frame:x}", "jfif", "adobe", f"{_RESTART:x}"]
                needed += _codes(content, header.frame)
                components = content[1 : 1 + 2 * content[0] : 2]
                needed += [f"quanta {quanta.pop(c)}" for c in components if c in quanta]
                used |= {latest[name] for name in needed if name in latest}
    return used


def _codes(scan: bytes, frame: int) -> list[str]:
    """Names of the Huffman tables that a scan uses (T.81, B.2.3 and G.1.2)."""
    count = scan[0]
    tables = scan[2 : 1 + 2 * count : 2]
    direct, alternating = ([f"code {t >> 4}" for t in tables], [f"code {16 + (t & 15)}" for t in tables])
    if frame != _PROGRESSIVE:
        return direct + alternating
    first, refinement = scan[1 + 2 * count], scan[3 + 2 * count] >> 4
    if first:
        return alternating
    return [] if refinement else direct


def decode(data: bytes, channels: int) -> NDArray[np.uint8]:
    """Decode to uint8 H×W (channels 1) or H×W×3 RGB. Premature ends and damage raise JpegError."""
    try:
        if channels == 1:
            return np.asarray(simplejpeg.decode_jpeg(data, colorspace="GRAY")[:, :, 0])
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))
    except ValueError as error:
        raise JpegError(f"damaged or truncated: {error}") from error


def size(data: bytes) -> tuple[int, int]:
    """Height and width by the frame header. Raises JpegError."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise JpegError(f"damaged or truncated: {error}") from error
    return height, width


def decode_small(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode to RGB at the least scale of libjpeg's (eighths) with ``side`` px a side or more. Raises JpegError."""
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side))
    except ValueError as error:
        raise JpegError(f"damaged or truncated: {error}") from error


def decode_eighth(data: bytes) -> NDArray[np.uint8]:
    """Decode to RGB at an eighth of the size (one pixel a block of 8×8), which costs little. Raises JpegError."""
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", min_height=1, min_width=1, min_factor=8))
    except ValueError as error:
        raise JpegError(f"damaged or truncated: {error}") from error
