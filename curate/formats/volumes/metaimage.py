"""MetaImage volumes in one file (.mha): a text header, then the pixels, plain or deflated.

Plain pixels are memory-mapped, so that a few frames of a long clip cost a few frames. The format is that of
ITK's MetaIO: https://itk.org/Wiki/MetaIO/Documentation
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import blame, require_file
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from medshards.curate.volumes import MAX_VOXELS

MAX_HEADER = 1 << 16
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


@dataclass(frozen=True, eq=False)
class MetaImage:
    """The pixels of a file and what its header says of them.

    array: D×H×W or H×W, read-only.
    spacing: distance of pixels along the axes of `array`, as the header states it (usually mm); None when it is
        silent or states what is no distance (0, as writers put who do not know; others put 1).
    affine: 4×4, (column, row, slice, 1) to RAS mm, of what the header says of spacing, direction and origin.
    """

    array: NDArray[Any]
    spacing: tuple[float, ...] | None
    affine: NDArray[np.float64]


def read(file: File) -> MetaImage:
    """Read a MetaImage of one value a pixel.

    Raises Reject (`unreadable`, `lfs_pointer`, `unsupported_image`, `too_large`); a header that promises more
    than the file holds is `unreadable`.
    """
    require_file(file)
    fields, end = _header(file)
    if fields.get("BinaryData", "True").lower() != "true":
        raise Reject("unsupported_image", "keeps its pixels as text; binary ones are expected", file.name)
    compressed = fields.get("CompressedData", "False").lower() == "true"
    with blame(file, KeyError, ValueError):
        shape = tuple(int(n) for n in reversed(fields["DimSize"].split()))
        spacing = fields.get("ElementSpacing") or fields.get("ElementSize")
        steps = tuple(float(v) for v in reversed(spacing.split())) if spacing else None
        big = fields.get("BinaryDataByteOrderMSB") or fields.get("ElementByteOrderMSB") or "False"
        channels = int(fields.get("ElementNumberOfChannels", "1"))
        kind = fields["ElementType"]
        skip = int(fields.get("HeaderSize", "0"))
        if len(shape) != int(fields.get("NDims", len(shape))):
            raise ValueError(f"{fields['NDims']} axes, and sizes of {len(shape)}")
    if kind not in TYPES or channels != 1 or len(shape) not in (2, 3):
        message = (
            f"{kind}, {channels} values a pixel, size {shape}; one number a pixel in two or three dimensions"
        )
        raise Reject("unsupported_image", f"{message} is expected", file.name)
    if min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise Reject("too_large", f"the header claims {shape} pixels", file.name)
    dtype = np.dtype(TYPES[kind]).newbyteorder(">" if big.lower() == "true" else "<")
    size = math.prod(shape) * dtype.itemsize
    with blame(file, OSError, ValueError, zlib.error):
        offset = _offset(skip, end, file.path.stat().st_size, None if compressed else size)
        if compressed:
            array: NDArray[Any] = np.frombuffer(_inflate(file, offset, size), dtype).reshape(shape)
        else:
            array = np.memmap(file.path, dtype, "r", offset, shape)
    known = steps and len(steps) == len(shape) and all(0 < step < math.inf for step in steps)
    with blame(file, ValueError):
        affine = _affine(fields, steps if known and steps else (1.0,) * len(shape))
    return MetaImage(array, steps if known else None, affine)


def _affine(fields: dict[str, str], steps: tuple[float, ...]) -> NDArray[np.float64]:
    """The place in the patient. A MetaImage counts LPS mm, and lists the direction of each axis, the fastest first."""
    axes = len(steps)
    affine = np.eye(4)
    direction = fields.get("TransformMatrix") or fields.get("Rotation") or fields.get("Orientation")
    if direction:
        affine[:axes, :axes] = np.array([float(v) for v in direction.split()]).reshape(axes, axes).T
    affine[:axes, :axes] *= steps[::-1]
    origin = fields.get("Offset") or fields.get("Origin") or fields.get("Position")
    if origin:
        affine[:axes, 3] = [float(v) for v in origin.split()]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _offset(skip: int, end: int, length: int, size: int | None) -> int:
    """The first byte of pixels in a file of `length` bytes whose header ends before byte `end`.

    skip: the field HeaderSize: pixels begin at that byte; -1, they are the last `size` bytes (None: deflated); 0,
        they follow the header.
    """
    if skip == 0:
        return end
    if skip == -1 and size is not None:
        skip = length - size
    if not end <= skip <= length:
        raise ValueError(f"HeaderSize {skip} in a file of {length} bytes whose header ends at byte {end}")
    return skip


def _header(file: File) -> tuple[dict[str, str], int]:
    """The header's fields and the offset of the first byte behind them."""
    with blame(file, OSError), file.path.open("rb") as stream:
        start = stream.read(MAX_HEADER)
    fields: dict[str, str] = {}
    at = 0
    while (end := start.find(b"\n", at)) >= 0:
        name, equals, value = start[at:end].decode("latin-1").partition("=")
        if not equals:
            break
        fields[name.strip()] = value.strip()
        at = end + 1
        if name.strip() == "ElementDataFile":  # by definition the last field
            if value.strip().upper() != "LOCAL":
                message = f"keeps its pixels in another file ({value.strip()}); one .mha file is expected"
                raise Reject("unsupported_image", message, file.name)
            return fields, at
    raise Reject("unreadable", "has no MetaImage header that ends in ElementDataFile", file.name)


def _inflate(file: File, offset: int, size: int) -> bytes:
    with file.path.open("rb") as stream:
        stream.seek(offset)
        data = zlib.decompressobj().decompress(stream.read(), size)
    if len(data) != size:
        raise ValueError(f"the pixels end after {len(data)} of {size} bytes")
    return data
