"""COph100: retinal vessels in wide-field fundus photographs of infants.

Hu et al., Scientific Data 12, 2025. The vessel masks are machine-made. The Figshare archive has masks and landmarks but
no photographs: these are images of RIDIRP (Timkovič et al., Scientific Data 11, 2024) under the same names, and are
found by name, beside the masks or anywhere else in the download.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import sample_of_mask
from medshards.curate.sample import Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

MASK = "**/[0-9][0-9][0-9]*/[0-9][0-9][0-9]_*_S[0-9]*_mask.png"
PHOTOGRAPH = "**/[0-9][0-9][0-9]_*_S[0-9]*.jpg"


class Converter(Source):
    """One case an examination, keyed by eye and name; group = patient, the first three digits of the name."""

    slug = "coph100"
    layouts = (Layout("COph100 (Figshare, with or without RIDIRP beside it; Google Drive)", (MASK,)),)
    ignored = (PHOTOGRAPH,)  # RIDIRP has 6,004, and 324 of them are in this set

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        masks = {_without_suffix(f): f for f in tree.glob(MASK)}
        eyes = {folder for folder, _ in masks}
        photographs: dict[str, File] = {}
        beside: dict[tuple[str, str], File] = {}
        for file in tree.glob(PHOTOGRAPH):
            photographs.setdefault(file.stem, file)
            beside[_without_suffix(file)] = file
            if _without_suffix(file) not in masks and _without_suffix(file)[0] in eyes:
                yield Reject("missing_mask", f"no {file.stem}_mask.png beside it", file.name)
        for (folder, name), mask in masks.items():
            image = beside.get((folder, name)) or photographs.get(name)
            if image is None:
                message = (
                    f"no {name}.jpg; COph100 comes without photographs, put the images of RIDIRP beside it"
                )
                yield Reject("missing_image", message, mask.name)
            else:
                key = make_key(f"{folder.rpartition('/')[2]}_{name}")
                yield Case(key, {"image": image, "mask": mask}, name[:3])

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "vessel", _read_mask)


def _without_suffix(file: File) -> tuple[str, str]:
    """Folder and examination of a photograph or mask."""
    return file.name.rpartition("/")[0], file.stem.removesuffix("_mask")


def _read_mask(file: File) -> NDArray[np.bool_]:
    """A mask of 0 and one other value, whatever that is: no native file was seen."""
    grey = raster.read_grey(file)
    values = np.unique(grey[grey > 0])
    if values.size > 1:
        message = (
            f"{values.size} grey values, from {values[0]} to {values[-1]}; a mask of two values is expected"
        )
        raise Reject("unknown_label", message, file.name)
    return grey > 0
