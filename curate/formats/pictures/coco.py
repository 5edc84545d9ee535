"""COCO instance files: images, categories and annotations with polygons or run lengths.

Format: Lin et al., ECCV 2014, and https://cocodataset.org/#format-data. Annotations are grouped by their image and
never looked up by their own id, because published files repeat those ids; an image is known by its file name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.jsonfile import read_object
from medshards.curate.formats.pictures import polygons
from medshards.curate.masks import unite
from medshards.curate.sample import Region, Reject
from medshards.curate.tree import File

MAX_PIXELS = 1 << 27
Fill = Callable[[NDArray[Any], tuple[int, int]], Region]


@dataclass(frozen=True)
class Annotation:
    """One annotated object.

    id: as the file has it, not always unique. label: name of its category.
    crowd: it stands for several objects that were not told apart.
    segmentation: polygons [[x, y, x, y, …], …] in px, or {"size": [height, width], "counts": run lengths}.
    """

    id: int
    label: str
    crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class Entry:
    """An image of the list. size: (height, width) in px as the file claims."""

    size: tuple[int, int]
    annotations: tuple[Annotation, ...]


def read_coco(file: File) -> Mapping[str, Entry]:
    """The images of a COCO file by file name; a file that many cases share is parsed once a process.

    Raises Reject (`unreadable`, `lfs_pointer`; `bad_annotations` when two images have one id or one name, and when
    annotations belong to an image that is not listed).
    """
    try:
        stat = file.path.stat()
    except OSError as error:
        raise Reject("unreadable", f"cannot be read ({error.strerror})", file.name) from error
    return _parse(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _parse(file: File, size: int, changed: int) -> Mapping[str, Entry]:
    content = read_object(file)
    try:
        labels = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        images = [
            (int(i["id"]), str(i["file_name"]), (int(i["height"]), int(i["width"])))
            for i in content["images"]
        ]
        found: dict[int, list[Annotation]] = {}
        for a in content["annotations"]:
            label = labels.get(int(a["category_id"]), f"category {a['category_id']}")
            annotation = Annotation(int(a["id"]), label, bool(a.get("iscrowd", 0)), a["segmentation"])
            found.setdefault(int(a["image_id"]), []).append(annotation)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        message = f"is no COCO instance file: {type(error).__name__} {error}"
        raise Reject("unreadable", message, file.name) from error
    for what, values in (("ids", [i[0] for i in images]), ("file names", [i[1] for i in images])):
        if len(set(values)) != len(values):
            twice = next(v for n, v in enumerate(values) if v in values[:n])
            raise Reject("bad_annotations", f"two images have the same {what[:-1]} {twice!r}", file.name)
    if strays := found.keys() - {i[0] for i in images}:
        message = f"annotations of the image ids {sorted(strays)[:5]}, which are not listed"
        raise Reject("bad_annotations", message, file.name)
    return {name: Entry(shape, tuple(found.get(number, ()))) for number, name, shape in images}


def region(annotation: Annotation, size: tuple[int, int], file: File, fill: Fill = polygons.fill) -> Region:
    """The pixels of an annotation in its image of `size` (height, width): the union of its polygons, or its runs.

    fill: how a polygon (N×2, x and y in px) becomes pixels.
    Raises Reject (`missing_mask` where there is only a box, `bad_annotations`, `size_mismatch`) naming `file`.
    """
    shape = annotation.segmentation
    if not shape:
        raise Reject("missing_mask", f"annotation {annotation.id} has no segmentation", file.name)
    try:
        if isinstance(shape, Mapping):
            return _runs(shape, size)
        parts = [fill(np.asarray(ring, np.float64).reshape(-1, 2), size) for ring in shape]
        return unite([part for part in parts if part.area] or parts[:1])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Reject("bad_annotations", f"annotation {annotation.id}: {error}", file.name) from error
    except Reject as reject:
        raise Reject(reject.code, f"annotation {annotation.id}: {reject.message}", file.name) from None


def _runs(shape: Mapping[str, Any], size: tuple[int, int]) -> Region:
    height, width = (int(n) for n in shape["size"])
    if (height, width) != size:
        message = f"its run lengths are of {width} x {height} px, the image of {size[1]} x {size[0]} px"
        raise Reject("size_mismatch", message)
    if height * width > MAX_PIXELS:
        raise ValueError(f"run lengths of {width} x {height} px")
    counts = shape["counts"]
    lengths = decode_counts(counts) if isinstance(counts, str) else [int(n) for n in counts]
    if min(lengths, default=0) < 0 or sum(lengths) != height * width:
        raise ValueError(f"run lengths of {sum(lengths)} px in all for {width} x {height} px")
    inside = np.arange(len(lengths)) % 2 == 1  # the first run is background
    return Region.of(np.repeat(inside, lengths).reshape(width, height).T)  # the runs go down the columns


def decode_counts(text: str) -> list[int]:
    """Run lengths from COCO's compressed string.

    Each number is cut into groups of five bits, the lowest first; a character is a group plus 48, plus 32 when
    another one follows; the highest bit of the last group is the sign. From the fourth number on, each is the
    difference to the number two places before. Raises ValueError for other characters and a cut string.
    """
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise ValueError(f"{character!r} in compressed run lengths")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        numbers.append(value + numbers[-2] if len(numbers) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return numbers
