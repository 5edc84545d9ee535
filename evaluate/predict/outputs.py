"""Write what was found: label pictures or volumes with their scores, COCO, overlays.

    NAME.png   NAME.mask1.png …   NAME.json       instance ids as in a corpus (a second picture where instances overlap)
    NAME.nii.gz   NAME.mask1.nii.gz …   NAME.json     the same on the grid of the source
    predictions.coco.json                         all inputs, run-length masks

Slices of a volume become NAME-0000.png, NAME-0001.png … Everything appears under its name complete or not at all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medshards.common.files import write_atomically
from medshards.curate.formats.pictures import png
from medshards.curate.sample import Instance, Region
from medshards.evaluate.predict.objects import Object, Result
from medshards.evaluate.predictions import FORMAT
from medshards.shards.encode.record import layers
from medshards.shards.export.volumes import nifti_file
from medshards.shards.view.drawing import Cell, Row, Shape, colour, page
from medshards.vocab.concept import Concept


@dataclass(frozen=True)
class Asked:
    """A text as it was asked: as the user typed it, and the concept it names, None outside the vocabulary."""

    text: str
    typed: str
    concept: Concept | None


def write_png(out: Path, result: Result, asked: Sequence[Asked]) -> list[Path]:
    """A label picture and its scores for each slice."""
    written = []
    count = len(result.opened.slices)
    for number in range(count):
        name = result.opened.name if count == 1 else f"{result.opened.name}-{number:04d}"
        objects = [
            Object(o.text, o.score, {0: o.regions[number]}) for o in result.objects if number in o.regions
        ]
        planes, plane_of = layers([_instance(o.regions[0]) for o in objects], result.opened.size)
        names = [f"{Path(name).name}.{_suffix(k)}png" for k in range(len(planes))]
        folder = (out / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        for file, plane in zip(names, planes, strict=True):
            write_atomically(folder / file, png.encode_mask(plane))
        written += [folder / file for file in names]
        written.append(_scores(out, name, result, asked, objects, names, plane_of))
    return written


def write_nifti(out: Path, result: Result, asked: Sequence[Asked]) -> list[Path]:
    """Label volumes on the grid of the source, and the scores."""
    depth, (height, width) = len(result.opened.slices), result.opened.size
    planes: list[NDArray[np.uint16]] = []
    plane_of = []
    for number, found in enumerate(result.objects, start=1):
        for place, plane in enumerate(planes):  # noqa: B007 (read after the loop)
            if not any((plane[k][r.window()][r.crop] > 0).any() for k, r in found.regions.items()):
                break
        else:
            place = len(planes)
            planes.append(np.zeros((depth, height, width), np.uint16))
        for k, region in found.regions.items():
            planes[place][k][region.window()][region.crop] = number
        plane_of.append(place)
    planes = planes or [np.zeros((depth, height, width), np.uint16)]
    affine = np.eye(4) if result.opened.affine is None else result.opened.affine
    names = [f"{Path(result.opened.name).name}.{_suffix(k)}nii.gz" for k in range(len(planes))]
    folder = (out / result.opened.name).parent
    folder.mkdir(parents=True, exist_ok=True)
    for file, plane in zip(names, planes, strict=True):
        write_atomically(folder / file, nifti_file(nib.Nifti1Image(plane.T, affine)))
    scores = _scores(out, result.opened.name, result, asked, result.objects, names, plane_of)
    return [*(folder / file for file in names), scores]


def write_overlay(out: Path, result: Result, asked: Sequence[Asked]) -> Path:
    """A picture with every object's contour, the texts below; of a volume the slice in which most is found."""
    slices: dict[int, int] = {}
    for found in result.objects:
        for number, region in found.regions.items():
            slices[number] = slices.get(number, 0) + region.area
    shown = max(slices, key=lambda k: slices[k]) if slices else len(result.opened.slices) // 2
    here = [o for o in result.objects if shown in o.regions]
    shapes = [Shape(o.regions[shown].mask(result.opened.size), colour(k)) for k, o in enumerate(here)]
    prompts: dict[str, list[Any]] = {}
    for k, found in enumerate(here):
        prompts.setdefault(asked[found.text].text, []).append(colour(k))
    for each in asked:
        if each.text not in prompts:
            prompts[f"no {each.text}"] = []
    target = out / f"{result.opened.name}.overlay.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    row = Row(Path(result.opened.name).name, [], [Cell(result.opened.slices[shown], shapes, prompts)])
    drawn = io.BytesIO()
    page([row]).save(drawn, "PNG", optimize=True)
    write_atomically(target, drawn.getvalue())
    return target


@dataclass
class Coco:
    """Collects a COCO file: an image for each slice, a category for each text, an annotation for each instance."""

    images: list[dict[str, Any]] = field(default_factory=list)
    categories: dict[str, int] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Result, asked: Sequence[Asked]) -> None:
        """Add one input."""
        count, (height, width) = len(result.opened.slices), result.opened.size
        for each in asked:
            self.categories.setdefault(each.text, len(self.categories) + 1)
        for number in range(count):
            name = result.opened.name if count == 1 else f"{result.opened.name}-{number:04d}"
            self.images.append(
                {"id": len(self.images) + 1, "file_name": name, "height": height, "width": width}
            )
            for track, found in enumerate(result.objects, start=1):
                if number not in found.regions:
                    continue
                region = found.regions[number]
                self.annotations.append(
                    {
                        "id": len(self.annotations) + 1,
                        "image_id": len(self.images),
                        "category_id": self.categories[asked[found.text].text],
                        "segmentation": run_lengths(region.mask((height, width))),
                        "area": region.area,
                        "bbox": list(region.bbox),
                        "iscrowd": 0,
                        "score": found.score,
                        **({"object": track} if count > 1 else {}),
                    }
                )

    def write(self, path: Path) -> None:
        """Write the file."""
        content = {
            "images": self.images,
            "categories": [{"id": number, "name": text} for text, number in self.categories.items()],
            "annotations": self.annotations,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(content) + "\n").encode())


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """A mask (H×W) as COCO's uncompressed run lengths: outside, inside, outside … down the columns."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes.tolist(), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def _scores(
    out: Path,
    name: str,
    result: Result,
    asked: Sequence[Asked],
    objects: Sequence[Object],
    masks: Sequence[str],
    plane_of: Sequence[int],
) -> Path:
    prompts: list[Mapping[str, Any]] = [
        {
            "text": each.text,
            "typed": each.typed,
            "concept": each.concept and each.concept.id,
            "presence": result.presence[number],
            "instances": [
                {"id": k, "plane": plane_of[k - 1], "score": found.score, "area": found.area}
                for k, found in enumerate(objects, start=1)
                if found.text == number
            ],
        }
        for number, each in enumerate(asked)
    ]
    path = out / f"{name}.json"
    content = {"format": FORMAT, "masks": list(masks), "prompts": prompts}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return path


def _suffix(plane: int) -> str:
    return f"mask{plane}." if plane else ""


def _instance(region: Region) -> Instance:
    return Instance("", region, "", None)
