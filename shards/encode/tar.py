"""Tar members as bytes that depend on nothing but name and content (ustar, no clock, no user)."""

from __future__ import annotations

import tarfile

BLOCK = 512
END = bytes(2 * BLOCK)  # end-of-archive mark


def header(name: str, size: int) -> bytes:
    """The 512-byte ustar header of a regular file, mode 0644, owner and time zero (POSIX.1-1988).

    Raises ValueError when the name is not plain ASCII of at most 100 bytes.
    """
    raw = name.encode("ascii")
    if not 0 < len(raw) <= 100:
        raise ValueError(f"tar member name {name!r} has {len(raw)} bytes; 1 to 100 fit")
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def padding(size: int) -> int:
    """Zero bytes after a member's data of `size` bytes."""
    return -size % BLOCK


def member(name: str, data: bytes) -> bytes:
    """Header, data and padding of one file."""
    return b"".join((header(name, len(data)), data, bytes(padding(len(data)))))
