"""BUSI: lesions in breast ultrasound.

Al-Dhabyani et al., Data in Brief 28, 2020. `NAME_mask.png` holds the lesion of an image, `NAME_mask_1.png` and so
on further ones; stray pixels beside a lesion are part of its file. Images of healthy breasts have black masks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.sample import Instance, Region, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

KINDS = ("benign", "malignant", "normal")
NAME = re.compile(r"(?P<kind>benign|malignant|normal) \((?P<number>\d+)\)(?P<mask>_mask(_\d+)?)?")
# None of the 780 native images is square; mirrors were resized to 256 x 256, 416 x 416 and the like.
RESIZED = (128, 224, 256, 320, 384, 416, 448, 512, 640, 1024)


class Converter(Source):
    """One case an image; group = image (no patient key is published, the build joins near-duplicates)."""

    slug = "busi"
    layouts = (
        Layout("Dataset_BUSI_with_GT (authors' page, Kaggle)", ("benign/benign (*).png",)),
        Layout("Dataset_BUSI_with_GT without benign images", ("malignant/malignant (*).png",)),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        for kind in KINDS:
            images: dict[str, File] = {}
            masks: dict[str, list[File]] = {}
            for file in tree.glob(f"{kind}/{kind} (*.png"):
                if match := NAME.fullmatch(file.stem):
                    key = f"{kind}-{int(match['number']):03d}"
                    if match["mask"]:
                        masks.setdefault(key, []).append(file)
                    else:
                        images[key] = file
            for key, image in images.items():
                found = {file.stem.removeprefix(image.stem + "_"): file for file in masks.pop(key, [])}
                if "mask" in found:
                    yield Case(key, {"image": image, **dict(sorted(found.items()))}, key)
                else:
                    yield Reject("missing_mask", f"no {image.stem}_mask.png beside it", image.name)
            for orphan in (file for files in masks.values() for file in files):
                yield Reject("missing_image", "no image of that name beside it", orphan.name)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        height, width = image.size
        if height == width and height in RESIZED:
            message = f"is {width} x {height} px: a resized copy; native images are not square"
            raise Reject("not_native", message, case.files["image"].name)
        kind = case.key.partition("-")[0]
        lesions = []
        for role, file in case.files.items():
            if role == "image":
                continue
            mask = raster.read_binary(file)
            raster.require_size(mask, image, file)
            if kind != "normal":
                label = kind if role == "mask" else f"{kind} extra mask"
                lesions.append(Instance(self.concept(label, file), Region.of(mask), label))
            elif mask.any():
                raise Reject("unknown_label", "white pixels in the mask of a normal image", file.name)
        yield Sample(case.key, image, lesions, case.group)
