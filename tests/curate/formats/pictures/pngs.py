"""PNG files that Pillow does not write."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def grey_png(values: NDArray[np.uint8], depth: int) -> bytes:
    """A grey PNG of 1, 2, 4 or 8 bits a pixel. values: H×W, as stored."""
    height, width = values.shape
    bits = np.unpackbits(values[:, :, None], axis=2)[:, :, 8 - depth :].reshape(height, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
