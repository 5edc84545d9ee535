"""Which series an RTSTRUCT or SEG object was drawn on, as far as it says so."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from medshards.curate.formats.dicom.tags import digest, items, open_dicom, quiet, value


def referenced_series(path: Path) -> set[str]:
    """Digests of the SeriesInstanceUIDs and of the image instances that the object refers to (as in `Series`)."""
    found: set[str] = set()
    with quiet():
        ds = open_dicom(path, pixels=False)
        _collect(items(ds, "ReferencedSeriesSequence"), found)
        for frame in items(ds, "ReferencedFrameOfReferenceSequence"):
            for study in items(frame, "RTReferencedStudySequence"):
                _collect(items(study, "RTReferencedSeriesSequence"), found)
    return found - {""}


def _collect(series: list[Dataset], found: set[str]) -> None:
    for item in series:
        found.add(digest(str(value(item, "SeriesInstanceUID") or "")))
        for keyword in ("ReferencedInstanceSequence", "ContourImageSequence"):
            for instance in items(item, keyword):
                found.add(digest(str(value(instance, "ReferencedSOPInstanceUID") or "")))
