"""COVID-QU-Ex: lungs, and COVID-19 infection, in chest X-rays.

Tahir et al., Computers in Biology and Medicine 2021. "Lung Segmentation Data" holds all 33,920 images; "Infection
Segmentation Data" is a subset with one more folder of masks. Kaggle doubles the names of both, so a tree is known by
what lies in it. Where both are, the subset is passed over: its images would count twice. Folders and names hold the
diagnosis, so none goes further than `discover`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from medshards.curate.formats.pictures import raster
from medshards.curate.pseudonyms import load_key, pseudonym
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

NAME = re.compile(
    r"(?P<top>.*?)(?P<key>(?P<split>Train|Val|Test)/(?:COVID-19|Non-COVID|Normal)/)"
    r"(?P<role>images|lung masks|infection masks)/(?P<file>[^/]+)\.png"
)
ROLES = {"images": "image", "lung masks": "lung", "infection masks": "infection"}


class Converter(Source):
    """One case an image, keyed by split and a keyed hash; group = image (no patient key is published)."""

    slug = "covid_qu_ex"
    private_names = True
    layouts = (Layout("Kaggle covidqu.zip", ("**/[TV]*/*/lung masks/*.png",)),)

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        key = load_key()
        found: dict[str, dict[tuple[str, str], dict[str, File]]] = defaultdict(lambda: defaultdict(dict))
        for path, file in tree.files.items():
            if name := NAME.fullmatch(path):
                found[name["top"]][name["key"] + name["file"], name["split"]][ROLES[name["role"]]] = file
        subsets = {top for top, images in found.items() if any("infection" in f for f in images.values())}
        for top, images in sorted(found.items()):
            needed = ("lung", "infection") if top in subsets else ("lung",)
            for (path, split), files in sorted(images.items()):
                missing = [role for role in needed if role not in files]
                if "image" not in files:
                    for file in files.values():
                        yield Reject("missing_image", "no image of this name", file.name)
                elif top in subsets and len(subsets) < len(found):
                    masks = tuple(files[role].name for role in needed if role in files)
                    yield Skip(
                        files["image"].name, "infection tree, a subset of the lung tree beside it", masks
                    )
                elif missing:
                    for file in files.values():
                        yield Reject(
                            "missing_mask", f"no {' and '.join(missing)} mask of this name", file.name
                        )
                else:
                    image = f"{split}-{pseudonym(key, self.slug, 'image', path)}"
                    yield Case(image, {r: files[r] for r in ("image", *needed)}, image, split.lower())

    def load(self, case: Case) -> Iterator[Sample]:
        image = raster.read_image(case.files["image"])
        instances = []
        for label in [role for role in case.files if role != "image"]:
            mask = raster.read_binary(case.files[label])
            raster.require_size(mask, image, case.files[label])
            instances += self.instances({label: mask}, case.files[label])
        concepts = tuple(sorted(i.concept for i in instances))  # infection is annotated in its own tree only
        yield Sample(case.key, image, instances, case.group, case.split, concepts=concepts)
