"""Datasets of images with a mask each, declared: the paths of both, and what a mask shows.

A path has named fields, "Images/{child:[0-9][0-9]}{eye:[LR]}.jpg": a field stands for a pattern of `tree.Tree.glob`
within one name (`*` where none is given), or for one of several words ("{split:train,test}"). Files of equal fields
belong together. From the two paths follow the layout, the pairs, the name of a half that is missing, and key, group
and split, which are format strings over the fields. Where a download holds more than that, a converter walks it itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from numpy.typing import NDArray

from medshards.common.glob import glob_regex
from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, read_both
from medshards.curate.sample import Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

FIELD = re.compile(r"\{([a-z]+)(?::([^}]*))?\}")

Fields = tuple[str, ...]  # values of the fields of a path, sorted by name of the field


@dataclass(frozen=True)
class Paths(Layout):
    """A layout that is known by the paths of its images and masks; made by `paths`."""

    image: FieldPath
    mask: FieldPath


def paths(title: str, image: str, mask: str, needs: tuple[str, ...] = ()) -> Paths:
    """The layout of images and masks at these paths, which are relative to the folder described.

    image, mask: paths with the same fields; the pattern of a field stands where it is first named.
    needs: globs that recognise the layout, where an image and a mask of it are not both needed.
    """
    patterns = {name: pattern for name, pattern in FIELD.findall(image + mask) if pattern}
    both = FieldPath(image, patterns), FieldPath(mask, patterns)
    return Paths(title, needs or tuple(path.glob for path in both), *both)


class FieldPath:
    """A path with fields. patterns: glob of a field by its name, `*` where there is none."""

    def __init__(self, path: str, patterns: Mapping[str, str]) -> None:
        globs = {name: patterns.get(name, "*") for name, _ in FIELD.findall(path)}
        globs = {name: f"{{{glob}}}" if "," in glob else glob for name, glob in globs.items()}
        self.path = path
        self.fields = sorted(globs)
        self.glob = FIELD.sub(lambda field: globs[field[1]], path)
        regex, end = "", 0
        for field in FIELD.finditer(path):
            named, group = f"(?P<{field[1]}>", glob_regex(globs[field[1]]) + ")"
            regex += glob_regex(path[end : field.start()])
            regex += f"(?P={field[1]})" if named in regex else named + group
            end = field.end()
        regex += glob_regex(path[end:])
        self._match = re.compile(regex, re.DOTALL).fullmatch

    def find(self, tree: Tree, but: FieldPath | None = None) -> dict[Fields, File]:
        """The files of a tree that have this path, by their fields; those that have the path `but` are left out."""
        found = ((self._match(path), path, file) for path, file in tree.files.items())
        return {
            match.group(*self.fields, 0)[:-1]: file  # a tuple also of one
            for match, path, file in found
            if match and not (but and but._match(path))
        }

    def named(self, fields: Fields) -> dict[str, str]:
        """The values by name of the field."""
        return dict(zip(self.fields, fields, strict=True))

    def name(self, fields: Fields) -> str:
        """The path that has these fields: what to look for where a file is missing, `**/` being no folder at all."""
        values = self.named(fields)
        return FIELD.sub(lambda field: values[field[1]], self.path).replace("**/", "")


class Masks(NamedTuple):
    """What a mask file shows.

    read: reader of its pixels, H×W or H×W×3.
    split: bool masks H×W by native label, of the pixels. Raises Reject (`unknown_label`).
    """

    read: Callable[[File], NDArray[Any]]
    split: Callable[[Source, NDArray[Any], File], Mapping[str, NDArray[Any]]]


def one(label: str, read: Callable[[File], NDArray[Any]]) -> Masks:
    """One label and nothing else. read: reader of a bool mask, such as `raster.read_binary`."""
    return Masks(read, lambda source, mask, file: {label: mask})


VALUES = Masks(raster.read_grey, lambda s, pixels, f: raster.split_values(pixels, s.labels.by_value(), f))
COLORS = Masks(raster.read_color, lambda s, pixels, f: raster.split_colors(pixels, s.labels.by_color(), f))


class Pictures(Source):
    """A dataset of images with a mask each.

    masks: what a mask shows: `one` label, or the `VALUES` or `COLORS` of the label file.
    key, group, split: format strings over the fields of the paths; group and split over {key} as well.
    splits: the name that we give a split, where the authors name it otherwise.
    skipped: files that are in order and yet no samples: the reason, by glob.
    """

    masks: ClassVar[Masks]
    key: ClassVar[str]
    group: ClassVar[str] = "{key}"
    split: ClassVar[str] = ""
    splits: ClassVar[Mapping[str, str]] = {}
    skipped: ClassVar[Mapping[str, str]] = {}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        """The pairs; a half of one is a Reject (`missing_mask`, `missing_image`). A file that fits both is a mask."""
        layout = tree.layout
        assert isinstance(layout, Paths)
        masks = layout.mask.find(tree)
        images = layout.image.find(tree, but=layout.mask)
        for pair in pairs(images, masks, layout.image.name, layout.mask.name):
            yield pair if isinstance(pair, Reject) else self.case(layout.image.named(pair.key), pair.files)
        for pattern, reason in self.skipped.items():
            yield from (Skip(file.name, reason) for file in tree.glob(pattern))

    def case(self, fields: Mapping[str, str], files: Mapping[str, File]) -> Case:
        """The case of a pair with these fields; overridden where format strings do not say what it is."""
        key = make_key(self.key.format_map(fields))
        group, split = (text.format_map({**fields, "key": key}) for text in (self.group, self.split))
        return Case(key, files, group, self.splits.get(split, split) or None)

    def load(self, case: Case) -> Iterator[Sample]:
        """The image with an instance for each label of its mask.

        Raises Reject (`size_mismatch`, `unknown_label`, and those of the readers).
        """
        file = case.files["mask"]
        image, pixels = read_both(case, self.masks.read)
        instances = self.instances(self.masks.split(self, pixels, file), file)
        yield Sample(case.key, image, instances, case.group, case.split)
