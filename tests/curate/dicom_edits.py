"""Edited copies of real DICOM files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from medshards.curate.formats.dicom import series
from medshards.curate.formats.dicom.rtstruct import Roi, StructureSet
from medshards.curate.formats.dicom.segmentation import Segment, Segmentation
from medshards.curate.formats.dicom.series import Scan, Series
from medshards.curate.formats.dicom.tags import Source
from medshards.curate.tree import File
from medshards.curate.volumes import Grid

Edit = Callable[[Dataset], object]


def read(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def dicom_files(folder: Path) -> list[Path]:
    """Files of a folder that are DICOM, in order of name."""
    return sorted(path for path in folder.iterdir() if pydicom.misc.is_dicom(path))


def file(path: Path) -> File:
    return File(path.name, path)


def scan(paths: Iterable[Path], keep: bool = False) -> Scan:
    return series.scan([file(path) for path in paths], keep)


def rois(path: Path, grid: Grid) -> Iterator[Roi]:
    return StructureSet(Source(file(path))).rois(grid)


def segments(path: Path, grid: Grid | None = None, image: Series | None = None) -> Iterator[Segment]:
    instances = None if image is None else {frame.instance for frame in image.frames}
    return Segmentation(Source(file(path))).segments(grid, instances)


def copies(files: Iterable[Path], folder: Path, *edits: Edit) -> list[Path]:
    """Write edited copies of `files` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in files:
        ds = read(path)
        for edit in edits:
            edit(ds)
        target = folder / path.name
        with pydicom.config.disable_value_validation():
            ds.save_as(target)
        written.append(target)
    return written


def put(**values: object) -> Edit:
    """An edit that sets elements; None deletes one, wherever it stands (object or radiopharmaceutical)."""

    def edit(ds: Dataset) -> None:
        tracer = ds.get("RadiopharmaceuticalInformationSequence", [Dataset()])[0]
        for keyword, value in values.items():
            holder = (
                tracer
                if keyword.startswith("Radio") and keyword != "RadiopharmaceuticalInformationSequence"
                else ds
            )
            if value is None:
                if keyword in holder:
                    del holder[keyword]
            else:
                setattr(holder, keyword, value)

    return edit
