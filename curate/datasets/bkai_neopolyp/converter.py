"""BKAI-IGH NeoPolyp (NeoPolyp-Small): neoplastic and non-neoplastic polyps in colonoscopy stills.

Lan et al., NeoUNet, 2021; Kaggle competition bkai-igh-neopolyp. Masks are JPEGs: red is neoplastic, green is not, and
the colours scatter, so the stronger of the two channels decides wherever it is above 127.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Masks, Pictures, paths
from medshards.curate.sample import Reject
from medshards.curate.source import Case, Skip
from medshards.curate.tree import File, Tree

ID = "[0-9a-f]" * 32
SHIFT = 20  # on the complete set no validation image is then within 60 s of a training one, by the burnt-in clocks
FOREIGN = 191  # in the native masks blue stays below 129, and red and green are never both bright


class Converter(Pictures):
    """One case an image; group = examination, told by names that overlap; no patient key is published."""

    slug = "bkai_neopolyp"
    layouts = (
        paths("Kaggle, doubled folders", f"train/train/{{name:{ID}}}.jpeg", "train_gt/train_gt/{name}.jpeg"),
        paths("single folders", f"train/{{name:{ID}}}.jpeg", "train_gt/{name}.jpeg"),
    )
    skipped = dict.fromkeys(
        (f"test/test/{ID}.jpeg", f"test/{ID}.jpeg"), "official test image without public mask"
    )
    masks = Masks(raster.read_color, lambda source, colors, file: _split(colors, file))
    key = "{name}"
    split = "train"

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        examination = examinations(file.stem for file in tree.glob(tree.layout.needs[0]))
        for found in super().discover(tree):
            yield replace(found, group=examination[found.key]) if isinstance(found, Case) else found


def examinations(names: Iterable[str]) -> dict[str, str]:
    """The examination of each picture, called by the first of its names in order of the alphabet.

    A name is a window of 32 characters on one long hexadecimal string, in the order in which pictures were taken: where
    a name without its first characters, SHIFT at most, begins another one, both are of one examination.
    """
    ordered = sorted(names)
    one, other = [], []
    for shift in range(1, SHIFT + 1):
        beginning = defaultdict(list)
        for place, name in enumerate(ordered):
            beginning[name[:-shift]].append(place)
        for place, name in enumerate(ordered):
            follows = beginning.get(name[shift:], [])
            one += [place] * len(follows)
            other += follows
    size = len(ordered)
    links = coo_array((np.ones(len(one), bool), (one, other)), (size, size))
    _, parts = connected_components(links, directed=False)
    first: dict[int, str] = {}
    return {name: first.setdefault(int(part), name) for name, part in zip(ordered, parts, strict=True)}


def _split(colors: NDArray[np.uint8], file: File) -> dict[str, NDArray[np.bool_]]:
    """The mask of each native label in a colour mask (H×W×3) that was stored with loss."""
    red, green, blue = (colors[:, :, channel] for channel in range(3))
    foreign = (blue > FOREIGN) | (np.minimum(red, green) > FOREIGN)
    if foreign.any():
        color = "#" + bytes(colors[foreign][0]).hex()
        message = (
            f"{np.count_nonzero(foreign)} px of colour {color} or alike; red, green and black are expected"
        )
        raise Reject("unknown_label", message, file.name)
    bright = raster.require_foreground(colors, 127, file)
    return {
        "neoplastic": bright[:, :, 0] & (red > green),
        "non-neoplastic": bright[:, :, 1] & (green > red),
    }
