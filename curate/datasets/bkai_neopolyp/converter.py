"""BKAI-IGH NeoPolyp (NeoPolyp-Small): neoplastic and non-neoplastic polyps in colonoscopy stills.

Lan et al., NeoUNet, 2021; Kaggle competition bkai-igh-neopolyp. Masks are JPEGs: red is neoplastic, green is not, and
the colours scatter, so the stronger of the two channels decides wherever it is above 127.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

NAME = "[0-9a-f]" * 32 + ".jpeg"
SHIFT = 20  # on the complete set no validation image is then within 60 s of a training one, by the burnt-in clocks
FOREIGN = 191  # in the native masks blue stays below 129, and red and green are never both bright


class Converter(Source):
    """One case an image; group = examination, told by names that overlap; no patient key is published."""

    slug = "bkai_neopolyp"
    layouts = (
        Layout("Kaggle, doubled folders", (f"train/train/{NAME}", f"train_gt/train_gt/{NAME}")),
        Layout("single folders", (f"train/{NAME}", f"train_gt/{NAME}")),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem: f for f in tree.glob(mask_pattern)}
        examination = examinations(images)
        for pair in pairs(images, masks, "{}.jpeg in train".format, "{}.jpeg in train_gt".format):
            if isinstance(pair, Reject):
                yield pair
            else:
                yield Case(pair.key, pair.files, examination[pair.key], "train")
        for image in tree.glob(image_pattern.replace("train", "test")):
            yield Skip(image.name, "official test image without public mask")

    def load(self, case: Case) -> Iterator[Sample]:
        file = case.files["mask"]
        image = raster.read_image(case.files["image"])
        colors = raster.read_color(file)
        raster.require_size(colors, image, file)
        yield Sample(case.key, image, self.instances(_split(colors, file), file), case.group, case.split)


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
