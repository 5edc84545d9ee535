"""Files as they were downloaded: their bytes, and whose fault it is when they cannot be read."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from medshards.common.machine import machine_error
from medshards.curate.sample import Reject
from medshards.curate.tree import File

LFS = b"version https://git-lfs.github.com/spec/"
MAX_BYTES, BLOCK = 1 << 29, 1 << 20  # of a file that is gzipped: four bytes a pixel of the largest picture


@contextmanager
def blame(file: File, *broken: type[Exception]) -> Iterator[None]:
    """Name `file` in a Reject that names none, and turn errors of the kinds `broken` into a Reject (`unreadable`).

    Raises MachineError where the machine is to blame.
    """
    try:
        yield
    except Reject as reject:
        reject.file = reject.file or file.name
        raise
    except broken as error:
        if trouble := machine_error(error):
            raise trouble from error
        raise Reject("unreadable", f"is damaged or cut short: {error}", file.name) from error


def require_file(file: File) -> None:
    """Raise Reject (`unreadable`, `lfs_pointer`) for missing, empty and Git-LFS pointer files."""
    with blame(file, OSError), file.path.open("rb") as stream:
        start = stream.read(len(LFS))
    _check_start(start, file)


def read_bytes(file: File) -> bytes:
    """The bytes of a file, gunzipped where gzipped.

    Raises Reject (`unreadable`, `lfs_pointer`; `too_large` for more than 512 MiB out of a gzipped file).
    """
    with blame(file, OSError):
        data = file.path.read_bytes()
    _check_start(data, file)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                blocks = [block for _ in range(MAX_BYTES // BLOCK) if (block := stream.read(BLOCK))]
                if stream.read(1):
                    raise Reject("too_large", f"holds more than {MAX_BYTES:,} bytes", file.name)
                data = b"".join(blocks)
        except (OSError, EOFError, zlib.error) as error:
            raise Reject("unreadable", f"damaged gzip: {error}", file.name) from error
    return data


def _check_start(data: bytes, file: File) -> None:
    if not data:
        raise Reject("unreadable", "the file is empty (0 bytes)", file.name)
    if data.startswith(LFS):
        raise Reject("lfs_pointer", "is a Git-LFS pointer, not the file: run `git lfs pull`", file.name)
