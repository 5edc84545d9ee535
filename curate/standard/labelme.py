"""Datasets of LabelMe files: polygons in a JSON file beside each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from medshards.curate.formats.pictures import labelme, raster
from medshards.curate.sample import Instance, Reject, Sample, make_key
from medshards.curate.source import Case, Skip, Source
from medshards.curate.standard.named import Named
from medshards.curate.standard.yolo import PICTURES
from medshards.curate.tree import File, Tree


class LabelmeFiles(Named, Source):
    """One case an image with the JSON file of its name beside it. The layout needs "**/*.json"."""

    def discover(self, tree: Tree) -> Iterator[Case | Skip | Reject]:
        """The pairs; an image without JSON file, or the other way round, is a Reject."""
        stems: dict[str, dict[str, File]] = {}
        for path, file in tree.files.items():
            kind = "annotations" if file.suffix == ".json" else "image" if file.suffix in PICTURES else None
            if kind is not None:
                stems.setdefault(str(PurePosixPath(path).with_suffix("")), {})[kind] = file
        for stem, files in sorted(stems.items()):
            key = make_key(stem)
            if "annotations" not in files:
                yield Reject(
                    "missing_mask", f"no {PurePosixPath(stem).name}.json beside it", files["image"].name
                )
            elif "image" not in files:
                yield Reject("missing_image", "no image of this name beside it", files["annotations"].name)
            else:
                try:
                    group = self.group_of(files["image"], key)
                except Reject as reject:
                    yield reject
                    continue
                yield Case(key, files, group, self.split_of(files["image"]))

    def load(self, case: Case) -> Iterator[Sample]:
        """The image with an instance for each polygon; other shapes are counted as lost.

        Raises Reject (`size_mismatch`, `bad_annotations`, `unknown_label`).
        """
        image, file = raster.read_image(case.files["image"], upright=True), case.files["annotations"]
        drawing = labelme.read_labelme(file)
        if drawing.size != image.size:
            (eh, ew), (h, w) = drawing.size, image.size
            raise Reject(
                "size_mismatch", f"was drawn on {ew} x {eh} px, its image has {w} x {h} px", file.name
            )
        shapes = [shape for shape in drawing.shapes if shape.label not in self.labels.ignored]
        drawn = [shape for shape in shapes if shape.kind == "polygon"]
        instances = [
            Instance(self.concept(shape.label, file), labelme.region(shape, image.size, file), shape.label)
            for shape in drawn
        ]
        others = len(shapes) - len(drawn)
        lost = {"shapes that are no polygons": others} if others else {}
        yield Sample(case.key, image, instances, case.group, case.split, lost=lost)
