"""nnU-Net: a dataset of pictures a dataset of the corpus, with one label map an image.

    DIR/DatasetNNN_SLUG/dataset.json
    DIR/DatasetNNN_SLUG/imagesTr/KEY_0000.png   labelsTr/KEY.png      training and validation
    DIR/DatasetNNN_SLUG/imagesTs/KEY_0000.png   labelsTs/KEY.png      test
    DIR/DatasetNNN_SLUG/splits_final.json       the split of training and validation, for nnUNet_preprocessed

A label map knows classes, not objects: objects of a concept become one, and where two concepts overlap the smaller one
wins; what the other loses is counted. Format: documentation/dataset_format.md of https://github.com/MIC-DKFZ/nnUNet
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medshards.curate.formats.pictures import png
from medshards.shards.build.split import TEST, TRAIN, VAL
from medshards.shards.export.coco import WINDOWED
from medshards.shards.export.report import Report
from medshards.shards.export.samples import Export, Item
from medshards.shards.export.target import write, write_json

MERGED = "objects that share a label map with others of their concept"
COVERED = "px of a concept where a smaller one lies over it"
HIDDEN = "objects that smaller ones cover whole"


def export_nnunet(export: Export, folder: Path) -> Report:
    """Write all samples into `folder`; returns what that came to."""
    report = Report()
    channels: dict[str, int] = {}
    keys: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in export.items():
        part = folder / _name(export, item.slug)
        where = "Ts" if item.split == TEST else "Tr"
        colour = channels.setdefault(item.slug, 1 if item.stored.image.ndim == 2 else 3)
        write(part / f"images{where}/{item.key}_0000.png", _as_png(item, colour, report))
        values = {concept: number for number, concept in enumerate(export.concepts[item.slug], start=1)}
        write(part / f"labels{where}/{item.key}.png", png.encode_mask(_label_map(item, values, report)))
        keys[item.slug][item.split].append(item.key)
        report.images += 1
    for slug, splits in keys.items():
        part = folder / _name(export, slug)
        names = ["grey"] if channels[slug] == 1 else ["R", "G", "B"]
        labels = {
            export.texts[concept]: number for number, concept in enumerate(export.concepts[slug], start=1)
        }
        write_json(
            part / "dataset.json",
            {
                "channel_names": {str(number): name for number, name in enumerate(names)},
                "labels": {"background": 0, **labels},
                "numTraining": len(splits[TRAIN]) + len(splits[VAL]),
                "file_ending": ".png",
            },
        )
        write_json(part / "splits_final.json", [{"train": splits[TRAIN], "val": splits[VAL]}])
    return report


def _name(export: Export, slug: str) -> str:
    return f"Dataset{export.slugs.index(slug) + 1:03d}_{slug}"


def _as_png(item: Item, channels: int, report: Report) -> bytes:
    """The picture as PNG with the channels of its dataset."""
    pixels = item.stored.image
    report.changed.update({WINDOWED: 1} if item.windowed else {})
    if (pixels.ndim == 2) != (channels == 1):
        mode = "L" if channels == 1 else "RGB"
        pixels = np.asarray(Image.fromarray(pixels).convert(mode))
        report.changed.update({"images of other channels than the first of their dataset": 1})
    return png.encode_image(pixels)


def _label_map(item: Item, values: dict[str, int], report: Report) -> NDArray[np.uint8]:
    areas: dict[str, NDArray[np.bool_]] = {}
    objects = list(item.masks())
    for instance, mask in objects:
        concept = instance["concept"]
        areas[concept] = areas[concept] | mask if concept in areas else mask
    label = np.zeros(item.size, np.uint8)
    for concept in sorted(areas, key=lambda concept: (-np.count_nonzero(areas[concept]), concept)):
        label[areas[concept]] = values[concept]
    of_concept = {c: sum(instance["concept"] == c for instance, _ in objects) for c in areas}
    for instance, mask in objects:
        seen = np.count_nonzero(label[mask] == values[instance["concept"]])
        report.instances += 1
        if seen == 0:
            report.lost[HIDDEN] += 1
        elif of_concept[instance["concept"]] > 1:
            report.changed[MERGED] += 1
    covered = sum(int(np.count_nonzero(label[area] != values[c])) for c, area in areas.items())
    report.lost.update({COVERED: covered} if covered else {})
    return label
