"""Chest Xray Masks and Labels: both lungs in the Montgomery and Shenzhen chest X-rays.

Jaeger et al., Quant Imaging Med Surg 4(6), 2014; the Shenzhen masks are a later work by Stirenko et al. Kaggle's zip
holds the tree twice; the first is read. Shenzhen masks are named like the image with `_mask` behind, Montgomery masks
like the image; `test/` repeats the 96 Shenzhen images without mask. NLM's own Montgomery set has a mask for each lung.
A name ends with 1 where the patient has tuberculosis, so none goes further than `discover`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from medshards.curate.formats.pictures import raster
from medshards.curate.pseudonyms import load_key, pseudonym
from medshards.curate.sample import Instance, Region, Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

NAME = "[CM][HC][NU]CXR_[0-9][0-9][0-9][0-9]_[01]"
KAGGLE = Layout("Kaggle", (f"**/CXR_png/{NAME}.png", f"**/masks/{NAME}*.png"))
LUNGS = ("leftMask", "rightMask")
MONTGOMERY = Layout(
    "NLM-MontgomeryCXRSet.zip", (f"CXR_png/{NAME}.png", *(f"ManualMask/{lung}/{NAME}.png" for lung in LUNGS))
)


class Converter(Source):
    """One case an image, keyed by its set and a keyed hash; group = image (one image a patient as far as known)."""

    slug = "chest_xray_masks"
    private_names = True
    layouts = (KAGGLE, MONTGOMERY)
    ignored = {f"**/test/{NAME}.png": "Shenzhen image without mask, which lies in CXR_png, too"}

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        key = load_key()
        masks: dict[str, dict[str, File]] = defaultdict(dict)
        copies: dict[str, list[str]] = defaultdict(list)
        for pattern in tree.layout.needs[1:]:
            for path, mask in tree.paths(pattern).items():
                stem = path.stem.removesuffix("_mask")
                if masks[stem].setdefault(path.parent.name, mask) is not mask:
                    copies[stem].append(mask.name)
        images: dict[str, File] = {}
        for path, image in tree.paths(tree.layout.needs[0]).items():
            if images.setdefault(path.stem, image) is not image:
                yield Skip(image.name, "second copy of the tree", tuple(copies[path.stem]))
        for stem in sorted(images.keys() | masks.keys()):
            found = masks.get(stem, {})
            if stem not in images:
                yield Reject(
                    "missing_image", "no image of this name in CXR_png", next(iter(found.values())).name
                )
            elif len(found) == len(tree.layout.needs) - 1:
                name = f"{stem[:6]}-{pseudonym(key, self.slug, 'image', stem)}"
                yield Case(name, {"image": images[stem], **found}, name)
            elif stem.startswith("CHN"):
                yield Skip(images[stem].name, "Shenzhen image without mask, as 96 are published")
            else:
                for file in (images[stem], *found.values()):
                    yield Reject("missing_mask", "no mask of this name, or of one lung only", file.name)

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        lungs = np.zeros(image.size, bool)
        for file in [f for role, f in case.files.items() if role != "image"]:
            mask = raster.read_threshold(file)
            raster.require_size(mask, image, file)
            lungs |= mask
        yield Sample(
            case.key, image, [Instance(self.concept("lung", file), Region.of(lungs), "lung")], case.group
        )
