"""MUCIC's simulated microscopy: volumes `image-final_NNNN` and `image-labels_NNNN`, in the same names in every folder.

The folder (or zip) tells the sets of one collection apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from medshards.curate.formats.volumes.stacks import open_stack
from medshards.curate.pairs import pairs
from medshards.curate.sample import Reject, Sample
from medshards.curate.slices import samples_by_id
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Tree


class Volumes(Source):
    """One case a volume, one sample a slice.

    folders: patterns of the folders of volumes. path: of an image. told: what is wrong with one that it does not fit.
    """

    folders: ClassVar[tuple[str, ...]]
    path: ClassVar[re.Pattern[str]]
    told: ClassVar[str]

    def names(self, match: re.Match[str]) -> tuple[str, str]:
        """Key and group of a volume, of the match of `path`."""
        raise NotImplementedError

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {f.name: f for folder in self.folders for f in tree.glob(f"{folder}image-final_*.*")}
        labels = {
            f.name.replace("image-labels_", "image-final_"): f
            for folder in self.folders
            for f in tree.glob(f"{folder}image-labels_*.*")
        }
        halves = "image-final of that number beside it".format, "image-labels of that number beside it".format
        for pair in pairs(images, labels, *halves):
            if isinstance(pair, Reject):
                yield pair
            elif (match := self.path.fullmatch(pair.key)) is None:
                yield Reject("not_native", self.told, pair.image.name, (pair.mask.name,))
            else:
                key, group = self.names(match)
                yield Case(key, pair.files, group)

    def load(self, case: Case) -> Iterator[Sample | Skip]:
        with (
            open_stack(case.files["image"], "Image") as image,
            open_stack(case.files["mask"], "Image") as labels,
        ):
            yield from samples_by_id(self, case, image, labels, "nucleus")
