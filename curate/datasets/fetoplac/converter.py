"""FetoPlac: placental vessels in fetoscopic video.

Bano et al., MICCAI 2020. Masks are colour PNGs in which any channel above 0 is vessel. The clips in
`Vessel_registration_unannotated_clips/` have no masks.
"""

from __future__ import annotations

import numpy as np

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths

VIDEO_FOLDER = "Vessel_segmentation_annotations/video[0-9][0-9]"
VIDEO = "Vessel_segmentation_annotations/{video:video[0-9][0-9]}"


class Converter(Pictures):
    """One case a frame, keyed by video and name; group = video, which is one procedure."""

    slug = "fetoplac"
    layouts = (
        paths(
            "Fetoscopy Placenta Dataset", VIDEO + "/images/{name}.png", VIDEO + "/masks_gt/{name}_mask.png"
        ),
    )
    ignored = {
        VIDEO_FOLDER + "/predicted_mask/*": "mask that a network predicted",
        VIDEO_FOLDER + "/masks_gt/*_binary.tif": "the same mask as TIFF",
    }
    skipped = {"Vessel_registration_unannotated_clips/**/*.png": "frame of an unannotated clip"}
    key = "{video}-{name}"
    group = "{video}"
    masks = one("vessel", lambda file: np.any(raster.read_color(file), axis=2))
