"""FetoPlac: placental vessels in fetoscopic video.

Bano et al., MICCAI 2020. Masks are colour PNGs in which any channel above 0 is vessel. The clips in
`Vessel_registration_unannotated_clips/` have no masks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import sample_of_mask
from medshards.curate.sample import Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

VIDEO = "Vessel_segmentation_annotations/video[0-9][0-9]"
UNANNOTATED = "Vessel_registration_unannotated_clips/**/*.png"


class Converter(Source):
    """One case a frame, keyed by video and name; group = video, which is one procedure."""

    slug = "fetoplac"
    layouts = (
        Layout("Fetoscopy Placenta Dataset", (f"{VIDEO}/images/*.png", f"{VIDEO}/masks_gt/*_mask.png")),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for frame in tree.glob(UNANNOTATED):
            yield Skip(frame.name, "frame of an unannotated clip")
        images = {(f.name.split("/")[-3], f.stem): f for f in tree.glob(f"{VIDEO}/images/*.png")}
        masks = {
            (f.name.split("/")[-3], f.stem.removesuffix("_mask")): f
            for f in tree.glob(f"{VIDEO}/masks_gt/*_mask.png")
        }
        for video, name in sorted(images.keys() | masks.keys()):
            if (video, name) not in masks:
                yield Reject("missing_mask", f"no {video}/masks_gt/{name}_mask.png", images[video, name].name)
            elif (video, name) not in images:
                yield Reject("missing_image", f"no {video}/images/{name}.png", masks[video, name].name)
            else:
                files = {"image": images[video, name], "mask": masks[video, name]}
                yield Case(make_key(f"{video}-{name}"), files, video)

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "vessel", lambda file: np.any(raster.read_color(file), axis=2))
