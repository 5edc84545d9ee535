"""nnU-Net: a dataset of pictures or volumes a dataset of the corpus, with one label map an image.

    DIR/DatasetNNN_SLUG/dataset.json
    DIR/DatasetNNN_SLUG/imagesTr/KEY_0000.png   labelsTr/KEY.png      training and validation
    DIR/DatasetNNN_SLUG/imagesTs/KEY_0000.png   labelsTs/KEY.png      test
    DIR/DatasetNNN_SLUG/splits_final.json       the split of training and validation, for nnUNet_preprocessed

A dataset of which the corpus has every slice of every volume becomes volumes again, VOLUME_0000.nii.gz and
VOLUME.nii.gz (see volumes.py). A label map knows classes, not objects: objects of a concept become one, and where two
concepts overlap the smaller one (in its slice) wins; what the other loses is counted. Format:
documentation/dataset_format.md of https://github.com/MIC-DKFZ/nnUNet
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medshards.curate.formats.pictures import png
from medshards.curate.sample import make_key
from medshards.shards.build.split import TEST, TRAIN, VAL
from medshards.shards.export.coco import WINDOWED
from medshards.shards.export.report import Report
from medshards.shards.export.samples import Export, Item
from medshards.shards.export.target import write, write_json
from medshards.shards.export.volumes import Open, values_of

MERGED = "objects that share a label map with others of their concept"
COVERED = "px of a concept where a smaller one lies over it"
HIDDEN = "objects that smaller ones cover whole"
PARTIAL = "slices of volumes written as pictures, because others of theirs are not here (build --slices all)"


def export_nnunet(export: Export, folder: Path) -> Report:
    """Write all samples into `folder`; returns what that came to."""
    report = Report()
    datasets = {slug: _Dataset(folder / _name(export, slug)) for slug in export.slugs}
    for item in export.items():
        dataset = datasets[item.slug]
        values = {concept: number for number, concept in enumerate(export.concepts[item.slug], start=1)}
        label = _label_map(item, values, report)
        if item.slug in export.volumes:
            dataset.add_slice(item, label)
        else:
            dataset.add_picture(item, label, report)
            report.changed.update({PARTIAL: 1} if item.slug in export.gridded else {})
        report.images += 1
    for slug, dataset in datasets.items():
        texts = {
            export.texts[concept]: number for number, concept in enumerate(export.concepts[slug], start=1)
        }
        dataset.finish(texts, ".nii.gz" if slug in export.volumes else ".png")
    return report


class _Dataset:
    """A folder DatasetNNN_SLUG that is being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.channels: list[str] = []  # of pictures
        self.kinds: set[str] = set()  # of volumes
        self.keys: dict[str, list[str]] = defaultdict(list)
        self.open: dict[str, Open] = {}

    def add_picture(self, item: Item, label: NDArray[np.uint8], report: Report) -> None:
        self.channels = self.channels or (["grey"] if item.stored.image.ndim == 2 else ["R", "G", "B"])
        self._write(
            item.key, item.split, _as_png(item, len(self.channels), report), png.encode_mask(label), "png"
        )

    def add_slice(self, item: Item, label: NDArray[np.uint8]) -> None:
        """A volume is written when its last slice has come."""
        record = item.record
        name, number = make_key(str(record["volume"])), int(record["slice"][0])
        volume = self.open.setdefault(name, Open.of(record))
        volume.images[number], volume.labels[number] = values_of(item.numbers, record), label
        kind = (
            "CT" if (record["intensity"] or {}).get("unit") == "HU" else str(record.get("modality", "grey"))
        )
        self.kinds.add(kind)
        if volume.whole:
            self._write(name, item.split, *volume.files(), "nii.gz")
            del self.open[name]

    def _write(self, key: str, split: str, image: bytes, label: bytes, ending: str) -> None:
        part = "Ts" if split == TEST else "Tr"
        write(self.folder / f"images{part}/{key}_0000.{ending}", image)
        write(self.folder / f"labels{part}/{key}.{ending}", label)
        self.keys[split].append(key)

    def finish(self, texts: dict[str, int], ending: str) -> None:
        """Write dataset.json and the split. texts: label value by prompt."""
        if not self.keys:
            return
        channels = self.channels or [" or ".join(sorted(self.kinds))]
        facts = {
            "channel_names": {str(number): name for number, name in enumerate(channels)},
            "labels": {"background": 0, **texts},
            "numTraining": len(self.keys[TRAIN]) + len(self.keys[VAL]),
            "file_ending": ending,
        }
        write_json(self.folder / "dataset.json", facts)
        splits = [{"train": self.keys[TRAIN], "val": self.keys[VAL]}]
        write_json(self.folder / "splits_final.json", splits)


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
