"""Careful access to DICOM elements: a malformed value counts as absent, and none ever reaches a message.

pydicom quotes values it cannot parse in warnings, logs and exceptions. Header values may name a patient,
so every file is opened and every element read inside `quiet()`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError

from medshards.curate.sample import Reject


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from quoting header values in warnings and logs."""
    logger = logging.getLogger("pydicom")
    disabled = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


class Bounded(io.BufferedReader):
    """A file of which no more is asked than it holds; pydicom asks for as many bytes as an element claims to have."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > 1 << 16:
            size = max(0, min(size, self._size - self.tell()))
        return super().read(size)


def open_dicom(path: Path, pixels: bool = True) -> FileDataset:
    """The data set of a DICOM file. Call inside `quiet()`.

    Raises: Reject `not_dicom`, `unreadable`.
    """
    try:
        with Bounded(path) as stream:
            return pydicom.dcmread(stream, stop_before_pixels=not pixels)
    except InvalidDicomError:
        raise Reject("not_dicom", "the file has no DICOM preamble") from None
    except (FileNotFoundError, MemoryError):
        raise
    except Exception:  # pydicom raises many kinds on damaged files, with header values in the text
        raise Reject("unreadable", "the DICOM header is damaged or cut off") from None


def value(ds: Dataset, keyword: str) -> Any:
    """Value of an element, None when it is absent or cannot be parsed."""
    try:
        return ds.get(keyword)
    except Exception:
        return None


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Values of a text element, upper case and stripped; () when absent."""
    found = value(ds, keyword)
    if found is None or found == "":
        return ()
    if isinstance(found, str) or not hasattr(found, "__iter__"):
        found = [found]
    return tuple(str(part).strip().upper() for part in found)


def text(ds: Dataset, keyword: str) -> str:
    """First value of a text element, upper case and stripped; "" when absent."""
    return next(iter(texts(ds, keyword)), "")


def number(ds: Dataset, keyword: str) -> float | None:
    """A single finite number, else None."""
    found = numbers(ds, keyword, 1)
    return None if found is None else found[0]


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, else None."""
    found = value(ds, keyword)
    if found is None or isinstance(found, bytes):
        return None
    try:
        parts = [found] if isinstance(found, str) or not hasattr(found, "__iter__") else list(found)
        result = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        return None
    return result if len(result) == count and all(math.isfinite(v) for v in result) else None


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence, [] when absent or not a sequence."""
    found = value(ds, keyword)
    return (
        [item for item in found if isinstance(item, Dataset)] if isinstance(found, pydicom.Sequence) else []
    )


def private(ds: Dataset, group: int, element: int, creator: str) -> str:
    """Text of a private element, "" when absent.

    By its creator first; de-identified files may have lost the creator and kept the element, so then by
    the usual tag (gggg,10ee), unless another creator owns that block.
    """
    for block in range(0x10, 0x100):
        if (group, block) in ds and _plain(ds, group, block).upper() == creator.upper():
            return _plain(ds, group, block << 8 | element)
    return "" if (group, 0x10) in ds else _plain(ds, group, 0x1000 | element)


def _plain(ds: Dataset, group: int, element: int) -> str:
    try:
        found = ds[group, element].value if (group, element) in ds else ""
    except Exception:
        return ""
    if isinstance(found, bytes):
        found = found.decode("ascii", "ignore")
    return str(found).strip(" \0")


def digest(uid: str) -> str:
    """Stands for a UID, which may be traced to a study: 16 hex digits of its SHA-256; "" for ""."""
    return hashlib.sha256(uid.encode()).hexdigest()[:16] if uid else ""
