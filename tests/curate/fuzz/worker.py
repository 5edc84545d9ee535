"""Read one damaged file after the other, as told on standard input; say what became of each on standard output.

A job is a line of JSON {"reader", "path"}; the answer {"outcome", "message", "seconds", "mebibytes"}: the outcome is
"read", "refused" or "crashed", seconds are those of the processor, mebibytes the address space taken beyond the start.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from medshards.curate.formats import xlsx
from medshards.curate.formats.dicom import series as dicom
from medshards.curate.formats.dicom import stack as dicomvolume
from medshards.curate.formats.dicom.rtstruct import StructureSet
from medshards.curate.formats.dicom.segmentation import Segmentation
from medshards.curate.formats.dicom.tags import Source
from medshards.curate.formats.pictures import aperio, coco, labelme, raster
from medshards.curate.formats.volumes import hdf5, metaimage, nifti, npy, npz, tiffstack
from medshards.curate.listing import list_download
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import get_source
from medshards.curate.tree import File
from medshards.curate.unpack import extract
from medshards.curate.volumes import Grid

CEILING = 3 << 30  # bytes of address space that a reader may take before it fails
NO_MEMORY = re.compile(
    r"bad_alloc|MemoryError|[Uu]nable to allocate|out of memory|[Cc]annot allocate|Insufficient memory"
)


def _coco(file: File) -> None:
    for entry in coco.read_coco(file).images.values():
        size = entry.size if max(entry.size) <= 4096 else (512, 512)
        for annotation in entry.annotations:
            coco.region(annotation, size, file)


def _labelme(file: File) -> None:
    drawing = labelme.read_labelme(file)
    for shape in drawing.shapes:
        labelme.region(shape, (512, 512), file)


def _hdf5(file: File) -> None:
    for key in ("Image", "main"):
        try:
            with hdf5.open_stack(file, key) as stack:
                _all(stack)
        except Reject:
            continue


def _tiff(file: File) -> None:
    with tiffstack.open_stack(file) as stack:
        _all(stack)


def _npy(file: File) -> None:
    for ndim in (4, 3, 1):
        try:
            array = npy.open_array(file, ndim)
            float(array[len(array) // 2].sum()) if ndim > 1 and len(array) else array[:10].tolist()
        except Reject:
            continue


def _nifti(file: File) -> None:
    for read in (
        lambda: nifti.read_labels(file),
        lambda: nifti.read_image(file, "CT", "HU"),
        lambda: _all(nifti.iter_slices(file)),
    ):
        try:
            read()
        except Reject:
            continue


def _dicom(file: File) -> None:
    found = dicom.scan([file], keep=True)
    for series in found.series:
        for read in (dicomvolume.read_volume, dicomvolume.read_suv):
            try:
                read(series)
            except Reject:
                continue


def _rtstruct(file: File) -> None:
    structures = StructureSet(Source(file))
    if GRID.is_dir():
        _all(structures.rois(_grid()))


@cache
def _grid() -> Grid:
    return dicomvolume.stack(dicom.scan(File(p.name, p) for p in sorted(GRID.rglob("*.dcm"))).only()).grid


def _archive(path: Path) -> None:
    extract(path, path.parent / "unpacked" / path.name)


def _all(items: Iterable[object]) -> None:
    for _ in items:
        pass


def _picture(file: File) -> None:
    for read in (raster.read_image, raster.read_color, raster.read_indices, raster.read_threshold):
        try:
            read(file)
        except Reject:
            continue


def _by_file(read: Callable[[File], object]) -> Callable[[Path], object]:
    return lambda path: read(File(path.name, path))


GRID = Path(os.environ.get("FUZZ_GRID", "/nowhere"))  # the images that an RTSTRUCT was drawn on
READERS: dict[str, Callable[[Path], object]] = {
    "picture": _by_file(_picture),
    "tiff stack": _by_file(_tiff),
    "npy": _by_file(_npy),
    "npz": _by_file(lambda file: npz.read_arrays(file, "imgs", "gts", "spacing")),
    "hdf5": _by_file(_hdf5),
    "metaimage": _by_file(metaimage.read),
    "nifti": _by_file(_nifti),
    "dicom": _by_file(_dicom),
    "dicom seg": _by_file(lambda file: _all(Segmentation(Source(file)).segments())),
    "rtstruct": _by_file(_rtstruct),
    "coco": _by_file(_coco),
    "labelme": _by_file(_labelme),
    "aperio": _by_file(aperio.read_annotations),
    "xlsx": _by_file(xlsx.read_sheet),
    "archive": _archive,
}

FAULTS: dict[str, Callable[[Path], object]] = {  # for the test of the test
    "nothing wrong": lambda path: None,
    "dies": lambda path: os.abort(),
    "raises": lambda path: {"": path}[str(path)],
    "takes memory": lambda path: np.empty(5 << 29, np.uint8),
    "takes all memory": lambda path: np.empty(1 << 40, np.uint8),
    "swallows a failed allocation": lambda path: _refuse("std::bad_alloc"),
}


def _refuse(message: str) -> None:
    raise Reject("unreadable", message)


def convert(slug: str, root: Path) -> None:
    """List and load a whole download; raises Reject, or what must not happen."""
    source = get_source(slug)
    for case in list_download(source, root).cases:
        try:
            _all(item for item in source.load(case) if isinstance(item, Sample))
        except Reject:
            continue


def _address_space() -> tuple[int, int]:
    """Bytes of address space in use, and the most that ever were."""
    status = Path("/proc/self/status").read_text()
    size, peak = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) << 10 for name in ("VmSize", "VmPeak"))
    return size, peak


def main() -> None:
    """Answer jobs until standard input ends."""
    cv2.setNumThreads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints does not get among the answers
    start, _ = _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (start + CEILING, resource.RLIM_INFINITY))
    for line in sys.stdin:
        job = json.loads(line)
        began, outcome, message = time.process_time(), "read", ""
        try:
            if job["reader"] in READERS | FAULTS:
                (READERS | FAULTS)[job["reader"]](Path(job["path"]))
            else:
                convert(job["reader"], Path(job["path"]))
        except Reject as reject:
            outcome, message = "crashed" if reject.code == "failed" else "refused", str(reject)
        except BaseException:
            outcome, message = "crashed", traceback.format_exc(limit=-6)
        if NO_MEMORY.search(message):
            outcome = "crashed"
        seconds, size = time.process_time() - began, (_address_space()[1] - start) >> 20
        print(
            json.dumps({"outcome": outcome, "message": message, "seconds": seconds, "mebibytes": size}),
            file=answers,
            flush=True,
        )


if __name__ == "__main__":
    main()
