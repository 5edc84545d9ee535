"""Volumes in TIFF files of many grey pages, read page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tifffile

from medshards.curate.formats.files import blame, require_file
from medshards.curate.formats.pictures.tiff import BROKEN
from medshards.curate.formats.volumes.container import Stack
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from medshards.curate.volumes import check_size


@contextmanager
def open_stack(file: File) -> Iterator[Stack]:
    """The pages of a file as slices; a file with one page has one slice.

    Raises Reject (`unreadable`, `lfs_pointer`, `not_3d`, `too_large`, `unsupported_dtype`).
    """
    require_file(file)
    with blame(file, *BROKEN):
        tiff = tifffile.TiffFile(file.path)
    with tiff:
        with blame(file, *BROKEN):
            series = list(tiff.series)
        if len(series) != 1 or not re.fullmatch("[^S]?YX", series[0].axes):
            shapes = ", ".join(f"{s.shape} {s.axes}" for s in series)
            raise Reject(
                "not_3d", f"holds {shapes or 'no picture'}; pages of one size are expected", file.name
            )
        pages: Any = series[0]
        depth, height, width = (1, *pages.shape)[-3:]
        if pages.dtype is None or pages.dtype.kind not in "iuf":
            raise Reject("unsupported_dtype", f"holds {pages.dtype} pixels, expected numbers", file.name)
        with blame(file):
            check_size((depth, height, width))
        promised = (tiff.imagej_metadata or {}).get("images", depth)
        if promised != depth:  # tifffile takes a stack that was cut for a single slice
            message = f"says that it holds {promised} slices, and {depth} are there: is it cut short?"
            raise Reject("unreadable", message, file.name)
        if pages.is_truncated:  # ImageJ describes a large stack by the page of its first slice
            with blame(file, *BROKEN):
                array = tifffile.memmap(file.path, series=0, mode="r")
            yield Stack(file, (depth, height, width), array.__getitem__, BROKEN)
            return
        if len(pages) != depth:
            raise Reject(
                "unreadable", f"has {len(pages)} pages for {depth} slices: is it cut short?", file.name
            )
        yield Stack(file, (depth, height, width), lambda index: pages[index].asarray(), BROKEN)
