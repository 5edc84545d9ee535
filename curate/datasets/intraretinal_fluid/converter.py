"""Intraretinal Cystoid Fluid: fluid in OCT B-scans of diabetic macular edema.

Ahmed et al., Int. J. Imaging Systems and Technology 2022. Half of the set are mirror images of the other half, under
numbers that do not correspond: samples are grouped by their mask, or its mirror image. One folder (815DME_F) holds a
second mask, which belongs to another sample. The pickled arrays beside the folders are never opened.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import read_both
from medshards.curate.sample import Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

FOLDER = "*[Dd][Mm][Ee]*"


class Converter(Source):
    """One case a folder; group = mask or its mirror image, whichever has the smaller digest (no patient key)."""

    slug = "intraretinal_fluid"
    layouts = (Layout("Kaggle 2021-training-data-ZA", (f"{FOLDER}/images/*.jpeg",)),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images, masks = _by_folder(tree, "images/*.jpeg"), _by_folder(tree, "masks/*")
        for folder in sorted(images.keys() | masks.keys()):
            own = _own(masks.get(folder, []), folder)
            if folder not in images:
                yield Reject("missing_image", f"no {folder}/images/*.jpeg", masks[folder][0].name)
            elif folder not in masks:
                yield Reject("missing_mask", f"no {folder}/masks/*", images[folder][0].name)
            elif len(images[folder]) != 1 or len(own) != 1:
                message = f"{len(images[folder])} images and {len(masks[folder])} masks, of which {len(own)} by name"
                for file in (*images[folder], *masks[folder]):
                    yield Reject("ambiguous", message, file.name)
            else:
                yield Case(make_key(folder), {"image": images[folder][0], "mask": own[0]}, make_key(folder))
                for stray in masks[folder]:
                    if stray != own[0]:
                        yield Skip(stray.name, "second mask, of another sample by its number")

    def load(self, case: Case) -> Iterator[Sample]:
        image, mask = read_both(case, raster.read_threshold)
        group = min(_digest(mask), _digest(mask[:, ::-1])) if mask.any() else case.group
        yield Sample(case.key, image, self.instances({"fluid": mask}, case.files["mask"]), group)


def _by_folder(tree: Tree, pattern: str) -> dict[str, list[File]]:
    """The files of each sample's folder."""
    found: dict[str, list[File]] = {}
    for file in tree.glob(f"{FOLDER}/{pattern}"):
        found.setdefault(file.name.split("/")[-3], []).append(file)
    return found


def _own(masks: list[File], folder: str) -> list[File]:
    """The only mask, whatever its name, or of several those that have the folder's number."""
    numbers = [re.findall(r"\d+", mask.stem)[:1] for mask in masks]
    return (
        masks
        if len(masks) == 1
        else [m for m, n in zip(masks, numbers) if n == re.findall(r"\d+", folder)[:1]]
    )


def _digest(mask: NDArray[np.bool_]) -> str:
    """A name for the pixels of a mask."""
    return "mask-" + hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()[:16]
