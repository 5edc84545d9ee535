"""SA-Co: images with the phrases to ask for, those that are there and those that are not.

    DIR/saco_SPLIT.json           an entry a pair of image and phrase, as in SA-Co/Gold; boxes and areas are parts of
                                  the image; a pair without annotation is a negative phrase
    DIR/train/SLUG-N_SPLIT.json   COCO files in which each category was looked for in each image, so that the trainer
                                  of SAM3 may take every category that an image does not have as a negative phrase
    DIR/images/SLUG/KEY.png|jpg

Format: scripts/eval/gold/README.md and sam3/train/data/coco_json_loaders.py of
https://github.com/facebookresearch/sam3 (SAM3_EVAL_API_FROM_JSON_NP, COCO_FROM_JSON).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from medshards.shards.build.split import SPLITS
from medshards.shards.export.coco import annotation_entry, head, image_entry, write_picture
from medshards.shards.export.report import Report
from medshards.shards.export.samples import Export, Item
from medshards.shards.export.target import write_json

Entries = list[dict[str, Any]]
Known = tuple[str, str, tuple[str, ...]]  # dataset, split, concepts that were looked for


def export_saco(export: Export, folder: Path) -> Report:
    """Write all samples into `folder`; returns what that came to."""
    report = Report()
    pairs: dict[str, tuple[Entries, Entries]] = {split: ([], []) for split in SPLITS}
    known: dict[Known, tuple[Entries, Entries]] = defaultdict(lambda: ([], []))
    for item in export.items():
        write_picture(item, folder / "images", report)
        concepts = tuple(sorted({*item.record["concepts"], *item.record["absent"]}))
        annotations = [annotation_entry(export, *each) for each in item.masks()]
        report.instances += len(annotations)
        _add_pairs(item, export, concepts, annotations, *pairs[item.split])
        images, own = known[item.slug, item.split, concepts]
        image = image_entry(item, len(images) + 1)
        images.append(image)
        own += [
            {"id": len(own) + k, "image_id": image["id"], **a} for k, a in enumerate(annotations, start=1)
        ]
    top = head(export)
    for split, (images, own) in pairs.items():
        if images:
            write_json(folder / f"saco_{split}.json", top | {"images": images, "annotations": own})
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    for (slug, split, concepts), (images, own) in sorted(known.items()):
        numbers[slug, split] += 1
        asked = {"categories": [c for c in top["categories"] if c["concept"] in concepts]}
        value = top | asked | {"images": images, "annotations": own}
        write_json(folder / f"train/{slug}-{numbers[slug, split]}_{split}.json", value)
    return report


def _add_pairs(
    item: Item, export: Export, concepts: tuple[str, ...], annotations: Entries, images: Entries, own: Entries
) -> None:
    """Add a pair for each concept that was looked for in an image, and the annotations of those that are there."""
    height, width = item.size
    whole = not any(item.record["lost"].values())  # else an object may be missing
    for concept in concepts:
        number = export.categories[concept]
        pair = image_entry(item, len(images) + 1) | {
            "text_input": export.texts[concept],
            "queried_category": str(number),
            "is_instance_exhaustive": int(whole),
            "is_pixel_exhaustive": int(whole),
        }
        images.append(pair)
        for each in (a for a in annotations if a["category_id"] == number):
            x, y, w, h = each["bbox"]
            own.append(
                {
                    **each,
                    "id": len(own) + 1,
                    "image_id": pair["id"],
                    "area": each["area"] / (height * width),
                    "bbox": [x / width, y / height, w / width, h / height],
                    "noun_phrase": export.texts[concept],
                    "source": item.slug,
                }
            )
