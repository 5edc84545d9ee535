"""Tar members as bytes that depend on nothing but name and content (ustar, no clock, no user)."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)  # end-of-archive mark


def header(name: str, size: int) -> bytes:
    """The 512-byte ustar header of a regular file, mode 0644, owner and time zero (POSIX.1-1988).

    Raises ValueError when the name is not plain ASCII of at most 100 bytes.
    """
    raw = name.encode("ascii")
    if not 0 < len(raw) <= 100:
        raise ValueError(f"tar member name {name!r} has {len(raw)} bytes; 1 to 100 fit")
    fields = [
        raw.ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,  # the checksum is computed with blanks in its place
        b"0",
        bytes(100),
        b"ustar\x0000",
        bytes(247),
    ]
    block = bytearray(b"".join(fields))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> int:
    """Zero bytes after a member's data of `size` bytes."""
    return -size % BLOCK


def member(name: str, data: bytes) -> bytes:
    """Header, data and padding of one file."""
    return b"".join((header(name, len(data)), data, bytes(padding(len(data)))))
