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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medshards.common.machine import machine_error
from medshards.curate.sample import Reject
from medshards.curate.tree import File


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


@dataclass(frozen=True, repr=False)
class Ids:
    """Whose an object is: native ids, which go no further than this process."""

    patient: str
    study: str
    series: str
    frame: str
    modality: str

    KEYWORDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")

    @classmethod
    def of(cls, ds: Dataset) -> Ids:
        """The ids of a data set, "" for those that it does not have."""
        return cls(*(str(value(ds, keyword) or "").strip() for keyword in cls.KEYWORDS))


_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # what a file without preamble begins with, little endian


def open_dicom(file: File, pixels: bool = True, only: Sequence[str] | None = None) -> FileDataset:
    """The data set of a DICOM file, also of one that lost its preamble. Call inside `quiet()`.

    pixels: with the pixel data. only: keywords of the elements to read, None for all.
    Raises: Reject `empty`, `not_dicom`, `unreadable`.
    """
    try:
        with Bounded(file.path) as stream:
            start = stream.read(132)
            stream.seek(0)
            if not start:
                raise Reject("empty", "the file is empty (0 bytes)", file.name)
            if start[128:] != b"DICM" and start[:2] not in _FIRST_GROUPS:
                raise Reject("not_dicom", "the file does not begin as a DICOM file", file.name)
            tags = list(only) if only is not None else None
            ds = pydicom.dcmread(stream, stop_before_pixels=not pixels, specific_tags=tags, force=True)
    except (FileNotFoundError, MemoryError, Reject):
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files, with header values in the text
        if trouble := machine_error(error):
            raise trouble from error
        raise Reject("unreadable", "the DICOM header is damaged or cut off", file.name) from None
    if "SOPClassUID" not in ds and "MediaStorageSOPClassUID" not in ds.file_meta:
        code = "unreadable" if start[128:] == b"DICM" else "not_dicom"
        raise Reject(code, "the DICOM header is damaged or cut off", file.name)
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return ds


@dataclass(frozen=True, eq=False)
class Source:
    """A DICOM file, and its data set where that was kept, so that the file is opened once."""

    file: File
    kept: FileDataset | None = field(default=None, repr=False)

    def open(self) -> FileDataset:
        """The whole data set. Call inside `quiet()`. Raises: as `open_dicom`."""
        return self.kept if self.kept is not None else open_dicom(self.file)


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


def referenced(ds: Dataset) -> Iterator[str]:
    """Digests of the SeriesInstanceUIDs and image instances that an RTSTRUCT or SEG says it was drawn on."""
    series = list(items(ds, "ReferencedSeriesSequence"))
    for frame in items(ds, "ReferencedFrameOfReferenceSequence"):
        for study in items(frame, "RTReferencedStudySequence"):
            series += items(study, "RTReferencedSeriesSequence")
    for item in series:
        yield from filter(None, [digest(str(value(item, "SeriesInstanceUID") or ""))])
        for keyword in ("ReferencedInstanceSequence", "ContourImageSequence"):
            for instance in items(item, keyword):
                yield from filter(None, [digest(str(value(instance, "ReferencedSOPInstanceUID") or ""))])
