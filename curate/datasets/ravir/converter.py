"""RAVIR: retinal arteries and veins in infrared reflectance images.

Hatamizadeh et al., IEEE JBHI 26(7), 2022. Mask values: 128 artery, 255 vein. The test images have no public masks.
"""

from __future__ import annotations

from medshards.curate.pictures import VALUES, Pictures, paths

NAME = "IR_Case_{number:[0-9][0-9][0-9]}.png"


class Converter(Pictures):
    """One case an image; artery and vein are a mask each; group = case number."""

    slug = "ravir"
    layouts = (paths("official zip", f"train/training_images/{NAME}", f"train/training_masks/{NAME}"),)
    skipped = {"test/IR_Case_[0-9][0-9][0-9].png": "official test image without public mask"}
    key = "IR_Case_{number}"
    group = "{number}"
    split = "train"
    masks = VALUES
