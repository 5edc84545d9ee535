"""COph100: retinal vessels in wide-field fundus photographs of infants.

Hu et al., Scientific Data 12, 2025. The vessel masks are machine-made. The Figshare archive has masks and landmarks but
no photographs: these are images of RIDIRP (Timkovič et al., Scientific Data 11, 2024) under the same names, and are
found by name, beside the masks or anywhere else in the download. A name holds the patient's number, sex, gestational
age, birth weight and diagnosis, so none goes further than `discover`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import sample_of_mask
from medshards.curate.pseudonyms import load_key, pseudonym
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

MASK = "**/[0-9][0-9][0-9]*/[0-9][0-9][0-9]_*_S[0-9]*_mask.png"
PHOTOGRAPH = "**/[0-9][0-9][0-9]_*_S[0-9]*.jpg"


class Converter(Source):
    """One case an examination of an eye, group = patient (the first three digits of the name); both keyed hashes."""

    slug = "coph100"
    layouts = (Layout("COph100 (Figshare, with or without RIDIRP beside it; Google Drive)", (MASK,)),)
    private_names = True
    ignored = {PHOTOGRAPH: "photograph of RIDIRP that is not in this set"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        key = load_key()
        masks = _by_examination(tree.paths(MASK))
        photographs = _by_examination(tree.paths(PHOTOGRAPH))
        anywhere = {
            name: file for (_, name), file in reversed(photographs.items())
        }  # the first of a name counts
        eyes = {folder for folder, _ in masks}
        for (folder, name), file in photographs.items():
            if folder in eyes and (folder, name) not in masks:
                yield Reject("missing_mask", "no mask beside it", file.name)
        for (folder, name), mask in masks.items():
            image = photographs.get((folder, name)) or anywhere.get(name)
            if image is None:
                message = "no photograph; COph100 comes without any, put the images of RIDIRP beside it"
                yield Reject("missing_image", message, mask.name)
                continue
            patient = pseudonym(key, self.slug, "patient", name[:3])
            examination = pseudonym(key, self.slug, "examination", PurePosixPath(folder).name, name)
            yield Case(f"{patient}-{examination}", {"image": image, "mask": mask}, patient)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "vessel", _read_mask)


def _by_examination(files: dict[PurePosixPath, File]) -> dict[tuple[str, str], File]:
    """Photographs or masks by published folder and name of their examination."""
    return {(str(path.parent), path.stem.removesuffix("_mask")): file for path, file in files.items()}


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
