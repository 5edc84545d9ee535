"""Chest X-ray images with pneumothorax masks: SIIM-ACR 2019 (stage 1), repacked as PNG on Kaggle.

Names are RUNNING-NUMBER_train|test_0|1_.png, 1 where there is a pneumothorax; the numbers begin again in each split,
so the whole name is the key. The profile `paper` keeps the 290 positive images of the test list.
"""

from __future__ import annotations

from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pictures import Pictures, one, paths
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case

NAME = "{number:[0-9]*}_{split:t[re][as]*}_{positive:[01]}_.png"


class Converter(Pictures):
    """One case an image; official split from its name; group = image (no patient key is published)."""

    slug = "chest_xray_pneumothorax"
    layouts = (paths("Kaggle siim-acr-pneumothorax", f"png_images/{NAME}", f"png_masks/{NAME}"),)
    key = "{number}_{split}_{positive}"
    split = "{split}"
    masks = one("pneumothorax", raster.read_threshold)

    def load(self, case: Case) -> Iterator[Sample]:
        said = case.key.endswith("_1")
        for sample in super().load(case):
            if (sample.instances[0].area > 0) != said:
                words = ("a", "no") if said else ("no", "a")
                message = f"its name says {words[0]} pneumothorax, the mask shows {words[1]} one"
                raise Reject("label_mismatch", message, case.files["mask"].name)
            yield sample
