"""CVC-ClinicDB (CVC-612): polyps in frames of colonoscopy videos.

Bernal et al., Computerized Medical Imaging and Graphics 43, 2015. The polyp is 255; outside the endoscope's view a
mask can hold the picture's own dark values, so it is read above 127. 612 frames of 29 sequences.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import sample_of_mask
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import Layout, Tree

# First frame of each sequence, as the authors list them; the last one ends with frame 612.
SEQUENCES = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298),
    *(318, 343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)
FRAMES = 612
SUBSET = 62  # frames in PraNet's TestDataset/CVC-ClinicDB


class Converter(Source):
    """One case a frame; group = sequence of the frame's number."""

    slug = "cvc_clinicdb"
    layouts = (
        Layout("PNG folder (Kaggle)", ("PNG/Original/[0-9]*.png", "PNG/Ground Truth/[0-9]*.png")),
        Layout("official archive, or TIF folder", ("Original/[0-9]*.tif", "Ground Truth/[0-9]*.tif")),
        Layout("PNG copy of the official folders", ("Original/[0-9]*.png", "Ground Truth/[0-9]*.png")),
        Layout("PNG copy", ("CVC-ClinicDB/images/[0-9]*.png", "CVC-ClinicDB/masks/[0-9]*.png")),
    )

    ignored = {"TIF/{Original,Ground Truth}/[0-9]*.tif": "the same frame as TIFF, beside the PNG"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        image_pattern, mask_pattern = tree.layout.needs
        images = {f.stem: f for f in tree.glob(image_pattern)}
        masks = {f.stem: f for f in tree.glob(mask_pattern)}
        if len(images) == SUBSET:
            message = f"holds {SUBSET} frames, those in PraNet's test set; download all {FRAMES}"
            first, *others = [file.name for file in (*images.values(), *masks.values())]
            yield Reject("not_native", message, first, tuple(others))
            return
        for key in sorted(images.keys() | masks.keys(), key=lambda stem: (len(stem), stem)):
            if key not in masks:
                yield Reject("missing_mask", f"no {mask_pattern.replace('[0-9]*', key)}", images[key].name)
            elif key not in images:
                yield Reject("missing_image", f"no {image_pattern.replace('[0-9]*', key)}", masks[key].name)
            elif not key.isdecimal() or not 1 <= int(key) <= FRAMES:
                message = f"frames are numbered 1 to {FRAMES}"
                yield Reject("not_native", message, images[key].name, (masks[key].name,))
            else:
                sequence = bisect(SEQUENCES, int(key))
                yield Case(key, {"image": images[key], "mask": masks[key]}, f"sequence-{sequence:02d}")

    def load(self, case: Case) -> Iterator[Sample]:
        yield sample_of_mask(self, case, "polyp", raster.read_threshold)
