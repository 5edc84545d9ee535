"""COCO: a file of instances a split, masks as compressed run lengths, whole.

    DIR/annotations/instances_train.json …_val.json …_test.json
    DIR/images/SLUG/KEY.png|jpg

Format: https://cocodataset.org/#format-data. Beyond it an image says `dataset`, `key`, `group`, and `absent`, the
categories that were looked for and are not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures.rle import encode_counts, run_lengths
from medshards.shards.build.split import SPLITS
from medshards.shards.export.report import Report
from medshards.shards.export.samples import Export, Item
from medshards.shards.export.target import write, write_json

WINDOWED = "16-bit images written as 8-bit pictures, in the window of their record"


def export_coco(export: Export, folder: Path) -> Report:
    """Write all samples into `folder`; returns what that came to."""
    report = Report()
    images: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    annotations: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for item in export.items():
        write_picture(item, folder / "images", report)
        image = image_entry(item, report.images) | {
            "license": export.slugs.index(item.slug) + 1,
            "absent": sorted(export.categories[concept] for concept in item.record["absent"]),
        }
        images[item.split].append(image)
        for instance, mask in item.masks():
            report.instances += 1
            numbers = {"id": report.instances, "image_id": image["id"]}
            annotations[item.split].append(numbers | annotation_entry(export, instance, mask))
    for split in (split for split in SPLITS if images[split]):
        value = head(export) | {"images": images[split], "annotations": annotations[split]}
        write_json(folder / f"annotations/instances_{split}.json", value)
    return report


def write_picture(item: Item, folder: Path, report: Report) -> None:
    """Write the picture of a sample into `folder` and count it."""
    write(folder / item.file, item.picture)
    report.images += 1
    report.changed.update({WINDOWED: 1} if item.windowed else {})


def annotation_entry(export: Export, instance: dict[str, Any], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """An object as COCO has it, but for its numbers; mask: H×W."""
    return {
        "category_id": export.categories[instance["concept"]],
        "segmentation": run_length_entry(mask),
        "area": instance["area"],
        "bbox": instance["bbox"],
        "iscrowd": 0,
    }


def head(export: Export) -> dict[str, Any]:
    """Info, licences and categories of a COCO file."""
    licences = [
        {
            "id": number,
            "name": f"{slug}: {export.about[slug]['licence']['name']}",
            "url": export.about[slug]["homepage"],
        }
        for number, slug in enumerate(export.slugs, start=1)
    ]
    return {
        "info": {"description": "exported by medshards", "version": export.digest},
        "licenses": licences,
        "categories": [
            {"id": number, "name": export.texts[concept], "supercategory": "", "concept": concept}
            for concept, number in export.categories.items()
        ],
    }


def image_entry(item: Item, number: int) -> dict[str, Any]:
    """An entry of `images`."""
    height, width = item.size
    return {
        "id": number,
        "file_name": item.file,
        "height": height,
        "width": width,
        "dataset": item.slug,
        "key": item.key,
        "group": item.record["group"],
    }


def run_length_entry(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H×W) as the `segmentation` of an annotation."""
    return {"size": list(mask.shape), "counts": encode_counts(run_lengths(mask))}
