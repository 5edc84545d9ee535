"""Datasets of images with a mask each, in any folders: groups and splits by patterns in the path of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from medshards.curate.pictures import Pictures
from medshards.curate.source import Case
from medshards.curate.standard.named import Named
from medshards.curate.tree import File


class NamedPictures(Named, Pictures):
    """One case a pair of image and mask."""

    def case(self, fields: Mapping[str, str], files: Mapping[str, File]) -> Case:
        """The case of a pair. Raises Reject `no_group`."""
        case = super().case(fields, files)
        image = files["image"]
        return replace(case, group=self.group_of(image, case.key), split=self.split_of(image))
