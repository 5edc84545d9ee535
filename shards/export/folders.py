"""Plain folders: an image, and a black-and-white picture for each of its objects.

DIR/images/SPLIT/SLUG/KEY.png|jpg
DIR/masks/SPLIT/SLUG/KEY/NUMBER-CONCEPT.png     0 and 255, as large as the image
DIR/instances.csv                               a row an object
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from medshards.curate.formats.pictures import png
from medshards.shards.export.coco import write_picture
from medshards.shards.export.report import Report
from medshards.shards.export.samples import Export
from medshards.shards.export.target import write

HEAD = ("dataset", "key", "split", "group", "number", "concept", "text", "label", "area", "image", "mask")


def export_folders(export: Export, folder: Path) -> Report:
    """Write all samples into `folder`; returns what that came to."""
    report = Report()
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(HEAD)
    for item in export.items():
        image = f"images/{item.split}/{item.file}"
        write_picture(item, folder / f"images/{item.split}", report)
        for instance, mask in item.masks():
            name = f"masks/{item.split}/{item.slug}/{item.key}/{instance['id']:05d}-{instance['concept']}.png"
            write(folder / name, png.encode_image(np.where(mask, 255, 0).astype(np.uint8)))
            report.instances += 1
            facts = (
                instance["id"],
                instance["concept"],
                instance["text"],
                instance["label"],
                instance["area"],
            )
            rows.writerow([item.slug, item.key, item.split, item.record["group"], *facts, image, name])
    write(folder / "instances.csv", table.getvalue().encode())
    return report
