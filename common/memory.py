"""How a process that decodes one picture after the other holds its memory."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST = 32 << 20  # bytes of an array that is kept, the most that glibc takes


def keep_freed() -> None:
    """Let this process, and those that it forks, use freed memory again; nothing happens where there is no glibc.

    Else glibc gives the memory of a picture back as soon as it is freed, and the next one faults in every 4 KiB of
    it anew: a fourth of the time of decoding a PNG on the machine of benchmarks/RESULTS.md. The peak stays the same.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
