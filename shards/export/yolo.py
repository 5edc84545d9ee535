"""YOLO segmentation: a text file of polygons beside each image.

    DIR/data.yaml                               paths of the splits, names of the classes
    DIR/images/SPLIT/SLUG/KEY.png|jpg
    DIR/labels/SPLIT/SLUG/KEY.txt               a line an object: class, then corners as parts of width and height

Polygons run along the edges of pixels, so filling them (pixel centres inside, even-odd) gives each mask again. Parts
and holes hang together by lines without area; tools that draw outlines thicken these by a pixel.
Format: https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

from pathlib import Path

import yaml

from medshards.shards.build.split import SPLITS
from medshards.shards.export.coco import write_picture
from medshards.shards.export.outlines import outline
from medshards.shards.export.report import Report
from medshards.shards.export.samples import Export
from medshards.shards.export.target import write

JOINED = "objects of several parts or with holes, joined by lines without area"


def export_yolo(export: Export, folder: Path) -> Report:
    """Write all samples into `folder`; returns what that came to."""
    report = Report()
    splits = set()
    for item in export.items():
        splits.add(item.split)
        write_picture(item, folder / f"images/{item.split}", report)
        height, width = item.size
        lines = []
        for instance, mask in item.masks():
            corners, count = outline(mask)
            numbers = [f"{x / width:.9g} {y / height:.9g}" for x, y in corners]
            lines.append(" ".join([str(export.categories[instance["concept"]] - 1), *numbers]))
            report.instances += 1
            report.changed.update({JOINED: 1} if count > 1 else {})
        text = "".join(line + "\n" for line in lines)
        write(folder / f"labels/{item.split}/{item.slug}/{item.key}.txt", text.encode())
    value = {
        **{split: f"images/{split}" for split in SPLITS if split in splits},
        "names": {number - 1: export.texts[concept] for concept, number in export.categories.items()},
    }
    write(folder / "data.yaml", yaml.safe_dump(value, sort_keys=False).encode())
    return report
