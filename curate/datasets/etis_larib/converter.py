"""ETIS-LaribPolypDB: polyps in frames of colonoscopy videos.

Silva et al., Int. J. CARS 9, 2014. The official masks carry a "p" before the number of their frame, copies as PNG do
not. White is the polyp; 196 frames of 34 sequences, whose ranges are not published.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import pairs, sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree


class Converter(Source):
    """One case a frame; group = the whole dataset (its sequences are not published)."""

    slug = "etis_larib"
    layouts = (
        Layout("official archive", ("ETIS-LaribPolypDB/[0-9]*.tif", "Ground Truth/p[0-9]*.tif")),
        Layout("PNG copy (ETIS-Larib)", ("ETIS-Larib/images/[0-9]*.png", "ETIS-Larib/masks/[0-9]*.png")),
        Layout("PNG copy (ETIS)", ("ETIS/images/[0-9]*.png", "ETIS/masks/[0-9]*.png")),
        Layout(
            "PNG copy (PraNet, Kaggle)",
            ("ETIS-LaribPolypDB/images/[0-9]*.png", "ETIS-LaribPolypDB/masks/[0-9]*.png"),
        ),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem.removeprefix("p"): f for f in tree.glob(mask_pattern)}
        names = (pattern.replace("[0-9]*", "*") for pattern in tree.layout.needs)
        for pair in pairs(images, masks, *names):
            yield pair if isinstance(pair, Reject) else Case(pair.key, pair.files, self.slug)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "polyp", raster.read_threshold)
