"""YOLO segmentation datasets: a text file of polygons beside each image, in `labels` where the image is in `images`.

A line is a class number and the corners of one polygon as parts of width and height. An image without text file shows
nothing. Format: https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np

from medshards.common.yamlfile import read_yaml
from medshards.curate.formats.files import blame, read_bytes
from medshards.curate.formats.pictures import polygons, raster
from medshards.curate.sample import Instance, Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.standard.named import Named
from medshards.curate.tree import File, Tree

PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@lru_cache(maxsize=8)
def class_names(file: File) -> tuple[str, ...]:
    """The names of the classes in order of their numbers, from data.yaml. Raises Reject `unreadable`."""
    try:
        content = read_yaml(file.path)
        names = content["names"]
        if isinstance(names, dict):
            names = [names[number] for number in range(len(names))]
        return tuple(str(name) for name in names)
    except (KeyError, TypeError, ValueError, OSError) as error:
        message = f"holds no list `names` of the classes: {type(error).__name__} {error}"
        raise Reject("unreadable", message, file.name) from error


class YoloFiles(Named, Source):
    """One case an image below a folder `images`; the layout needs data.yaml first."""

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        """The images; a text file without image is a Reject."""
        (names,) = tree.glob(tree.layout.needs[0])
        images = {
            path: file
            for path, file in tree.files.items()
            if file.suffix in PICTURES and "images" in PurePosixPath(path).parts[:-1]
        }
        taken = set()
        for path, image in sorted(images.items()):
            label = _label_path(path)
            key = make_key(str(PurePosixPath(path).with_suffix("")).replace("images/", "", 1))
            files = {"image": image, "names": names}
            if label in tree.files:
                files["labels"] = tree.files[label]
                taken.add(label)
            try:
                yield Case(key, files, self.group_of(image, key), self.split_of(image))
            except Reject as reject:
                yield reject
        for path, file in sorted(tree.files.items()):
            if path.endswith(".txt") and "labels" in PurePosixPath(path).parts[:-1] and path not in taken:
                yield Reject("missing_image", "no image has this name", file.name)

    def load(self, case: Case) -> Iterator[Sample]:
        """The image with an instance for each line. Raises Reject (`bad_annotations`, `unknown_label`)."""
        image = raster.read_image(case.files["image"], upright=True)
        instances: list[Instance] = []
        file = case.files.get("labels")
        for number, line in enumerate(_lines(file) if file else [], start=1):
            assert file is not None
            try:
                first, *rest = line.split()
                name = class_names(case.files["names"])[_whole(first)]
                corners = np.asarray(rest, np.float64).reshape(-1, 2) * image.size[::-1]
                region = polygons.fill(corners, image.size)
            except (ValueError, IndexError) as error:
                raise Reject("bad_annotations", f"line {number}: {error}", file.name) from error
            if name not in self.labels.ignored:
                instances.append(Instance(self.concept(name, file), region, name))
        yield Sample(case.key, image, instances, case.group, case.split)


def _label_path(path: str) -> str:
    """Where the text file of an image lies: the last folder `images` is `labels` there."""
    parts = list(PurePosixPath(path).with_suffix(".txt").parts)
    last = max(place for place, part in enumerate(parts[:-1]) if part == "images")
    return "/".join([*parts[:last], "labels", *parts[last + 1 :]])


def _lines(file: File) -> list[str]:
    with blame(file, OSError):
        if file.path.stat().st_size == 0:  # an image in which nothing is to be seen
            return []
    try:
        text = read_bytes(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Reject("unreadable", f"is no text ({error.reason})", file.name) from error
    return [line for line in text.splitlines() if line.strip()]


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(f"class {text}")
    return number
