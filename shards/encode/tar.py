"""Tar members as bytes that depend on nothing but name and content (ustar, no clock, no user)."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)  # end-of-archive mark
LARGEST = 8**11 - 1  # bytes of a member, in eleven octal digits
_OWNER = b"0000644\0" + 2 * b"0000000\0"  # mode, user, group
_REST = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)  # a regular file, no link, no names, no device
_SUM = sum(_OWNER) + sum(_REST) + 8 * ord(" ")  # of what is always the same; the checksum counts as blanks


def header(name: str, size: int) -> bytes:
    """The 512-byte ustar header of a regular file, mode 0644, owner and time zero (POSIX.1-1988).

    Written here since Python's tarfile takes ten times as long. Raises ValueError when the name is not plain ASCII of
    at most 100 bytes, or the size does not fit.
    """
    raw = name.encode("ascii")
    if not 0 < len(raw) <= 100:
        raise ValueError(f"tar member name {name!r} has {len(raw)} bytes; 1 to 100 fit")
    if size > LARGEST:
        raise ValueError(f"tar member {name!r} has {size:,} bytes; {LARGEST:,} fit")
    times = b"%011o\0%011o\0" % (size, 0)
    checksum = b"%06o\0 " % (sum(raw) + sum(times) + _SUM)
    return raw.ljust(100, b"\0") + _OWNER + times + checksum + _REST


def padding(size: int) -> int:
    """Zero bytes after a member's data of `size` bytes."""
    return -size % BLOCK


def member(name: str, data: bytes) -> bytes:
    """Header, data and padding of one file."""
    return b"".join((header(name, len(data)), data, bytes(padding(len(data)))))
