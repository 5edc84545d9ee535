"""PNG files: structure checked before decoding, masks written so that they decode fast.

A mask is written as an ordinary grey PNG in which every row uses filter 0, so the decompressed stream is
the image itself with one byte before each row, and `decode` reads it an order of magnitude faster than a general
decoder. What compresses gives the same bytes on every processor: libdeflate images, and zlib-ng (from 2.2 on, which
has one hash for all) masks, in a fourth of the time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

import deflate
import imagecodecs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from medshards.curate.formats.pictures import exif
from medshards.curate.formats.pictures.errors import PictureError, check_pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
PLAIN = ((GREY, 1), (GREY, 8), (GREY, 16), (RGB, 8), (RGB, 16))  # kinds whose rows are the pixels
PIXELS = (b"IDAT",)  # chunks that grey and RGB pixels are made of, between IHDR and IEND
STORED = 65535  # bytes of a stored block of deflate, at most
COLORS = (b"PLTE", b"tRNS")  # chunks that a palette and transparent pixels need besides
PASSES = (  # of an interlaced picture: first column, first row, steps (PNG specification, section 8.2)
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


class PngError(PictureError):
    """The bytes are no complete, undamaged PNG."""


@dataclass(frozen=True)
class Header:
    """What a PNG says of itself."""

    width: int
    height: int
    depth: int  # bits per channel
    color: int  # GREY, RGB, PALETTE, GREY_ALPHA or RGBA
    interlaced: bool
    chunks: tuple[tuple[bytes, int, int], ...]  # (type, offset of the chunk, whole length)

    def has(self, *kinds: bytes) -> bool:
        """True when a chunk of one of these types is present."""
        return any(kind in kinds for kind, _, _ in self.chunks)


def read_header(data: bytes) -> Header:
    """Walk all chunks and check their order, lengths and CRC-32. Raises PngError with the reason."""
    if data[:8] != SIGNATURE:
        raise PngError("the PNG signature is missing")
    chunks = []
    at = 8
    view = memoryview(data)
    while True:
        if at + 12 > len(data):
            raise PngError(f"truncated: {len(data)} bytes end before the IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise PngError(
                f"truncated: chunk {kind!r} at byte {at} needs {end} bytes, the file has {len(data)}"
            )
        (crc,) = struct.unpack_from(">I", data, end - 4)
        if isal_zlib.crc32(view[at + 4 : end - 4]) != crc:
            raise PngError(f"damaged: wrong checksum of chunk {kind!r} at byte {at}")
        chunks.append((kind, at, end - at))
        at = end
        if kind == b"IEND":
            break
    if chunks[0][0] != b"IHDR" or chunks[0][2] != 25:
        raise PngError("the first chunk is not IHDR")
    width, height, depth, color, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    check_pixels(width, height, PngError)
    if color not in CHANNELS:
        raise PngError(f"damaged: there is no colour type {color}")
    return Header(width, height, depth, color, bool(interlace), tuple(chunks))


def bare(data: bytes, header: Header, kinds: tuple[bytes, ...] = PIXELS) -> tuple[bytes, Header]:
    """The same PNG with chunks of these types alone, and without what follows its end; the pixels are untouched.

    Names hide in all else: texts, Exif, dates, colour profiles, a palette beside RGB, unknown chunks. No decoder used
    here applies a colour profile or gamma, so that dropping them changes no pixel.
    """
    parts: list[bytes | memoryview] = [SIGNATURE]
    chunks, end = [], len(SIGNATURE)
    for kind, at, size in [header.chunks[0], *(chunk for chunk in header.chunks if chunk[0] in kinds)]:
        parts.append(data[at : at + size])
        chunks.append((kind, end, size))
        end += size
    parts += _chunk(b"IEND")  # its own may hold something
    return b"".join(parts), replace(header, chunks=(*chunks, (b"IEND", end, 12)))


def transparent(data: bytes, header: Header) -> tuple[int, ...] | None:
    """The stored value of the colour that a grey or RGB picture declares transparent, if it does."""
    for kind, at, size in header.chunks:
        if kind == b"tRNS" and size - 12 == 2 * CHANNELS[header.color]:
            return struct.unpack_from(f">{CHANNELS[header.color]}H", data, at + 8)
    return None


def orientation(data: bytes, header: Header) -> int:
    """The Exif orientation (1 = as stored)."""
    for kind, at, size in header.chunks:
        if kind == b"eXIf":
            return exif.orientation(data[at + 8 : at + size - 4])
    return exif.AS_STORED


def decode(data: bytes) -> NDArray[Any]:
    """Decode any PNG to H×W or H×W×C, uint8 or uint16. Raises PngError.

    libdeflate decompresses in a third of libpng's time, which then only undoes filters, where there are any.
    """
    header = read_header(data)
    try:
        raw: bytes | bytearray = deflate.zlib_decompress(_stream(data, header), _raw_size(header))
    except deflate.DeflateError:
        raw = b""
    return _pixels(data, header, raw)


def decode_exact(data: bytes, header: Header) -> tuple[NDArray[Any], bool]:
    """The pixels as `decode` gives them, and whether the compressed stream holds them and nothing behind them."""
    size = _raw_size(header)
    inflate = isal_zlib.decompressobj()  # libdeflate does not say where a stream ends
    try:
        raw = inflate.decompress(_stream(data, header), size + 1)
    except isal_zlib.error:  # type: ignore[misc]  # typed as an instance
        raw = b""
    exact = len(raw) == size and inflate.eof and not inflate.unused_data
    return _pixels(data, header, raw), exact


def _stream(data: bytes, header: Header) -> bytes:
    return b"".join([data[at + 8 : at + size - 4] for kind, at, size in header.chunks if kind == b"IDAT"])


def _raw_size(header: Header) -> int:
    """Bytes of the decompressed rows, a byte before each."""
    bits = header.depth * CHANNELS[header.color]
    passes = PASSES if header.interlaced else ((0, 0, 1, 1),)
    rows = [
        (-(-(header.height - top) // down), -(-(header.width - left) // across))
        for left, top, across, down in passes
        if header.width > left
    ]
    return sum(count * (1 + (width * bits + 7) // 8) for count, width in rows if count > 0)


def _pixels(data: bytes, header: Header, raw: bytes | bytearray) -> NDArray[Any]:
    """The pixels of a PNG whose decompressed rows are `raw`; where they are not, libpng says what is wrong."""
    if len(raw) != _raw_size(header):
        return _by_libpng(data)
    if header.interlaced or header.has(b"tRNS") or (header.color, header.depth) not in PLAIN:
        return _by_libpng(_stored(data, header, raw))
    rows = np.frombuffer(raw, np.uint8).reshape(header.height, -1)
    if header.depth == 1:  # filters work on bytes, so that eight pixels pass as one, in a third of the time
        bits = rows[:, 1:]
        if rows[:, 0].any():
            bits = _by_libpng(_file(bits.shape[1], header.height, 8, GREY, *_uncompressed(raw)))
        return np.unpackbits(bits, axis=1, count=header.width) * np.uint8(255)
    if rows[:, 0].any():
        return _by_libpng(_stored(data, header, raw))
    pixels = np.ascontiguousarray(rows[:, 1:])
    pixels = pixels if header.depth == 8 else pixels.view(">u2").astype(np.uint16)
    return pixels if header.color == GREY else pixels.reshape(header.height, header.width, 3)


def _stored(data: bytes, header: Header, raw: bytes | bytearray) -> bytes:
    """The same PNG with its decompressed rows stored as they are."""
    before = next(at for kind, at, _ in header.chunks if kind == b"IDAT")
    return b"".join([data[:before], *_chunk(b"IDAT", *_uncompressed(raw)), *_chunk(b"IEND")])


def _uncompressed(raw: bytes | bytearray) -> list[bytes | memoryview]:
    """A compressed stream, in parts, that holds bytes as they are (RFC 1951, section 3.2.4)."""
    view = memoryview(raw)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for at in range(0, len(raw), STORED):
        block = view[at : at + STORED]
        parts += [struct.pack("<BHH", at + STORED >= len(raw), len(block), STORED - len(block)), block]
    return [*parts, struct.pack(">I", isal_zlib.adler32(raw))]


def _by_libpng(data: bytes) -> NDArray[Any]:
    try:
        return np.asarray(imagecodecs.png_decode(data))
    except Exception as error:
        raise PngError(f"damaged: {error}") from error


def encode_mask(mask: NDArray[Any]) -> bytes:
    """A grey PNG of `mask` (uint8 or uint16, H×W) with filter 0 in every row."""
    height, width = mask.shape
    depth = 8 * mask.dtype.itemsize
    rows = np.empty((height, 1 + width * mask.dtype.itemsize), np.uint8)
    samples = mask if depth == 8 else mask.astype(">u2")
    rows[:, 0] = 0
    rows[:, 1:] = np.ascontiguousarray(samples).view(np.uint8).reshape(height, -1)
    stream = bytes(imagecodecs.zlibng_encode(rows, 4))  # type: ignore[arg-type]  # any buffer will do
    return _file(width, height, depth, GREY, stream)


def encode_image(pixels: NDArray[Any]) -> bytes:
    """A lossless PNG of an image: uint8 H×W, uint8 H×W×3 or uint16 H×W.

    Each row takes the filter (none, sub, up or Paeth) whose residuals have the smallest absolute sum, the
    usual heuristic of the PNG specification (section 12.8).
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype == np.uint16:
        depth, raw = 16, np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8)
    else:
        depth, raw = 8, np.ascontiguousarray(pixels)
    step = channels * depth // 8  # bytes of one pixel: the distance of a byte from its left neighbour
    x = raw.reshape(height, width * step)
    left = np.zeros_like(x)
    left[:, step:] = x[:, :-step]
    up = np.zeros_like(x)
    up[1:] = x[:-1]
    corner = np.zeros_like(x)
    corner[1:, step:] = x[:-1, :-step]
    filters = {0: x, 1: x - left, 2: x - up, 4: x - _paeth(left, up, corner)}
    # |residual| as signed bytes; int64 sums: one row of a large image can exceed 32 bits only in theory
    costs = np.stack([np.minimum(r, 0 - r).sum(axis=1, dtype=np.int64) for r in filters.values()])
    best = np.argmin(costs, axis=0)
    rows = np.empty((height, 1 + x.shape[1]), np.uint8)
    for position, (number, residual) in enumerate(filters.items()):
        chosen = best == position
        rows[chosen, 0] = number
        rows[chosen, 1:] = residual[chosen]
    stream = bytes(deflate.zlib_compress(rows, 6))
    return _file(width, height, depth, GREY if channels == 1 else RGB, stream)


def _paeth(left: NDArray[Any], up: NDArray[Any], corner: NDArray[Any]) -> NDArray[Any]:
    """Paeth predictor of the PNG specification (section 9.4), for whole arrays of bytes."""
    a, b, c = left.astype(np.int16), up.astype(np.int16), corner.astype(np.int16)
    pa, pb = np.abs(b - c), np.abs(a - c)
    pc = np.abs(a + b - 2 * c)
    return np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, up, corner))


def _file(width: int, height: int, depth: int, color: int, *stream: bytes | memoryview) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"".join([SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", *stream), *_chunk(b"IEND")])


def _chunk(kind: bytes, *data: bytes | memoryview) -> list[bytes | memoryview]:
    """A chunk in parts."""
    crc = isal_zlib.crc32(kind)
    for part in data:
        crc = isal_zlib.crc32(part, crc)
    return [struct.pack(">I", sum(map(len, data))), kind, *data, struct.pack(">I", crc)]
