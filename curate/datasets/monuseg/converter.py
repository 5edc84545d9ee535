"""MoNuSeg 2018: cell nuclei of several organs in H&E (MICCAI challenge).

Kumar et al., IEEE TMI 36(7), 2017. Officially 1000 x 1000 px TIFFs with a polygon for each nucleus; neighbouring nuclei
overlap. The Kaggle mirror "kmms", on which the paper's 82 images rest, has binary masks instead, other pictures mixed
in, and a blank in the masks' names; the build makes components there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from medshards.curate.formats.pictures import polygons, raster
from medshards.curate.formats.pictures.aperio import read_annotations
from medshards.curate.pairs import sample_of_mask
from medshards.curate.sample import Image, Instance, Region, Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.tree import File, Layout, Tree

SLIDE = re.compile(r"(?P<patient>TCGA-\w\w-\w{4})-\w+-\w+-[A-Z]{2}\w")  # DX1, TS1, TSC, BS6, BSA …
PART = re.compile(r"monuseg.*(?P<part>train|test)", re.IGNORECASE)
MIRROR = "kmms_*/"


class Converter(Source):
    """One case an image; group = patient (TCGA number, or the number before `_` in other names); official split."""

    slug = "monuseg"
    layouts = (
        Layout("official archives, images beside annotations", ("*/TCGA-*.tif", "*/TCGA-*.xml")),
        Layout("official archives, one folder", ("TCGA-*.tif", "TCGA-*.xml")),
        Layout("Kaggle mirror kmms", (MIRROR + "images/*.*", MIRROR + "masks/*.png")),
    )

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        if tree.layout is self.layouts[2]:
            yield from self._mirror(tree)
            return
        images = {f.stem: f for pattern in ("TCGA-*.tif", "*/TCGA-*.tif") for f in tree.glob(pattern)}
        regions = {f.stem: f for pattern in ("TCGA-*.xml", "*/TCGA-*.xml") for f in tree.glob(pattern)}
        for stem in sorted(images.keys() | regions.keys()):
            slide = SLIDE.fullmatch(stem)
            if stem not in regions:
                yield Reject("missing_mask", f"no {stem}.xml", images[stem].name)
            elif stem not in images:
                yield Reject("missing_image", f"no {stem}.tif", regions[stem].name)
            elif slide is None:
                yield Reject(
                    "not_native", "its name is no TCGA slide number (…-DX1, …-TSC)", images[stem].name
                )
            else:
                files = {"image": images[stem], "regions": regions[stem]}
                yield Case(make_key(stem), files, slide["patient"], part_of(images[stem]))

    def _mirror(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        images = {place_of(f): f for f in tree.glob(MIRROR + "images/*.*")}
        masks = {place_of(f): f for f in tree.glob(MIRROR + "masks/*.png")}
        for place in sorted(images.keys() | masks.keys()):
            folder, name = place
            if place not in masks:
                yield Reject("missing_mask", f"no {name}.png among the masks", images[place].name)
            elif place not in images:
                yield Reject("missing_image", "no image of that name", masks[place].name)
            else:
                group = name[:12] if SLIDE.fullmatch(name) else re.sub(r"_\d+$", "", name)
                split = "test" if "test" in folder else "train"
                yield Case(make_key(name), {"image": images[place], "mask": masks[place]}, group, split)

    def load(self, case: Case) -> Iterator[Sample]:
        if "mask" in case.files:
            yield sample_of_mask(self, case, "nucleus", raster.read_binary)
            return
        image = raster.read_image(case.files["image"], upright=True)
        file = case.files["regions"]
        concept = self.concept("nucleus", file)
        annotations = read_annotations(file)
        drawn = [points for points in annotations.regions if len(points) >= 3]
        regions = (self._region(points, image, file) for points in drawn)
        nuclei = [Instance(concept, region, "nucleus", n) for n, region in enumerate(regions, start=1)]
        points_only = len(annotations.regions) - len(drawn)
        yield Sample(
            case.key,
            image,
            nuclei,
            case.group,
            case.split,
            spacing=(annotations.pixel_mm, annotations.pixel_mm) if annotations.pixel_mm else None,
            concepts=None if nuclei else (),  # a file without regions does not say that there is no nucleus
            lost={"regions of fewer than 3 points": points_only} if points_only else {},
        )

    def _region(self, points: NDArray[Any], image: Image, file: File) -> Region:
        try:
            return polygons.fill(points, image.size)
        except ValueError as error:
            raise Reject("bad_annotations", str(error), file.name) from error


def part_of(file: File) -> str | None:
    """The official split: that of the archive, whose folder names it; slide names do not tell. None without it."""
    folders = (PART.match(parent.name) for parent in file.path.parents)
    return next((found["part"].lower() for found in folders if found), None)


def place_of(file: File) -> tuple[str, str]:
    """The mirror's folder (training or test) and the picture's name without blanks."""
    return file.name.split("/")[-3], file.stem.replace(" ", "")
