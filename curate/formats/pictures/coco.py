"""COCO instance files: images, categories and annotations with polygons or run lengths.

Format: Lin et al., ECCV 2014, and https://cocodataset.org/#format-data. Annotations are grouped by their image and
never looked up by their own id, because published files repeat those ids; an image is known by its file name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import blame
from medshards.curate.formats.jsonfile import read_object
from medshards.curate.formats.pictures import polygons
from medshards.curate.formats.pictures.rle import decode_counts
from medshards.curate.masks import unite
from medshards.curate.sample import Region, Reject
from medshards.curate.tree import File

MAX_PIXELS = 1 << 27
Fill = Callable[[NDArray[Any], tuple[int, int]], Region]


@dataclass(frozen=True)
class Annotation:
    """One annotated object.

    name: what messages call it: "annotation 7" by its id, which is not always unique, or its place in the file.
    id: as the file has it, None where it has none. label: name of its category.
    crowd: it stands for several objects that were not told apart.
    segmentation: polygons [[x, y, x, y, …], …] in px, or {"size": [height, width], "counts": run lengths}.
    """

    name: str
    id: int | None
    label: str
    crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class Entry:
    """An image of the list.

    size: (height, width) in px as the file claims. problem: why the image cannot be trusted, "" where it can.
    """

    size: tuple[int, int]
    annotations: tuple[Annotation, ...]
    problem: str = ""


@dataclass(frozen=True)
class Coco:
    """A COCO file. images: by file name. strays: sentences on annotations that belong to no image of the list.
    labels: the names of its categories."""

    images: Mapping[str, Entry]
    strays: tuple[str, ...]
    labels: tuple[str, ...]


def read_coco(file: File) -> Coco:
    """A COCO file; one that many cases share is parsed once a process. A bad entry spoils its image alone.

    Raises Reject (`unreadable`, `lfs_pointer`).
    """
    with blame(file, OSError):
        stat = file.path.stat()
    return _parse(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _parse(file: File, size: int, changed: int) -> Coco:
    content = read_object(file)
    try:
        labels = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        images = [
            (int(i["id"]), str(i["file_name"]), (int(i["height"]), int(i["width"])))
            for i in content["images"]
        ]
        annotations = [dict(a) for a in content["annotations"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        message = f"is no COCO instance file: {type(error).__name__} {error}"
        raise Reject("unreadable", message, file.name) from error
    ids, names = Counter(i[0] for i in images), Counter(i[1] for i in images)
    found: dict[int, list[Annotation]] = {}
    problems: dict[int, str] = {}
    strays: list[str] = []
    for place, a in enumerate(annotations, start=1):
        name = f"annotation {a['id']}" if "id" in a else f"the {place}. annotation"
        image = a.get("image_id")
        if not isinstance(image, int) or image not in ids:
            strays.append(f"{name} is of the image id {image!r}, which is not listed")
            continue
        try:
            label = labels.get(int(a["category_id"]), f"category {a['category_id']}")
            number = int(a["id"]) if "id" in a else None
            crowd = bool(int(a.get("iscrowd", 0)))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            problems[image] = f"{name}: {type(error).__name__} {error}"
            continue
        annotation = Annotation(name, number, label, crowd, a.get("segmentation"))
        found.setdefault(image, []).append(annotation)
    entries = {}
    for number, name, shape in images:
        problem = problems.get(number, "")
        if ids[number] > 1:
            problem = f"{ids[number]} images have the id {number}"
        elif names[name] > 1:
            problem = f"it is listed {names[name]} times"
        entries[name] = Entry(shape, tuple(found.get(number, ())), problem)
    return Coco(entries, tuple(strays), tuple(str(category["name"]) for category in content["categories"]))


def region(annotation: Annotation, size: tuple[int, int], file: File, fill: Fill = polygons.fill) -> Region:
    """The pixels of an annotation in its image of `size` (height, width): the union of its polygons, or its runs.

    fill: how a polygon (N×2, x and y in px) becomes pixels.
    Raises Reject (`missing_mask` where there is only a box, `bad_annotations`, `size_mismatch`) naming `file`.
    """
    shape = annotation.segmentation
    if not shape:
        raise Reject("missing_mask", f"{annotation.name} has no segmentation", file.name)
    try:
        if isinstance(shape, Mapping):
            return _runs(shape, size)
        parts = [fill(np.asarray(ring, np.float64).reshape(-1, 2), size) for ring in shape]
        return unite([part for part in parts if part.area] or parts[:1])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Reject("bad_annotations", f"{annotation.name}: {error}", file.name) from error
    except Reject as reject:
        raise Reject(reject.code, f"{annotation.name}: {reject.message}", file.name) from None


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
