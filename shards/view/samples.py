"""A few samples of a dataset with their masks, in one picture: what the card of a corpus shows of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medshards.common.spread import spread
from medshards.common.window import shown
from medshards.curate.formats.pictures import jpeg, png
from medshards.shards.build import index
from medshards.shards.encode.stage import BlobReader
from medshards.shards.view.drawing import Cell, Colour, Row, Shape, colour, page

SAMPLES = 4  # of a dataset
PLACES = [
    "shard", "image_extension", "image_offset", "image_size", "mask_offsets", "mask_sizes", "json_offset", "json_size"
]  # fmt: skip


def choose(annotated: Sequence[bool], count: int) -> list[int]:
    """Positions of `count` samples, at even distances among those with instances; empty ones only fill up."""
    filled = [position for position, there in enumerate(annotated) if there]
    empty = [position for position, there in enumerate(annotated) if not there]
    chosen = spread(filled, count)
    return chosen + spread(empty, count - len(chosen))


def truth_cell(
    image: NDArray[Any],
    record: Mapping[str, Any],
    mask: Callable[[Mapping[str, Any]], NDArray[np.bool_]],
) -> Cell:
    """A sample with every instance of its record in a colour of its own; mask: its H×W mask from that entry."""
    shapes = []
    prompts: dict[str, list[Colour]] = {}
    for number, instance in enumerate(record["instances"]):
        shapes.append(Shape(mask(instance), colour(number)))
        prompts.setdefault(instance["text"], []).append(colour(number))
    return Cell(image, shapes, prompts or {"(no instance)": []})


def draw_samples(folder: Path, slug: str) -> bytes:
    """A PNG of a few samples of the dataset `slug`, whose index and shards lie in `folder`."""
    table = index.read_columns(folder / index.INDEX, ["instances", *PLACES])
    counts = table["instances"].to_pylist()
    chosen = pa.array(choose([count > 0 for count in counts], SAMPLES), pa.int64())
    places = table.take(chosen).to_pylist()
    source = BlobReader()
    cells = [_cell(folder, place, source) for place in places]
    source.close()
    lines = [f"{len(counts):,} images", f"{sum(counts):,} instances"]
    data = io.BytesIO()
    page([Row(slug, lines, cells)]).save(data, "PNG")
    return data.getvalue()


def _cell(folder: Path, place: Mapping[str, Any], source: BlobReader) -> Cell:
    def read(offset: int, size: int) -> bytes:
        return source.read(str(folder / place["shard"]), offset, size)

    record = json.loads(read(place["json_offset"], place["json_size"]))
    coded = read(place["image_offset"], place["image_size"])
    pixels = jpeg.decode(coded, 3) if place["image_extension"] == "jpg" else png.decode(coded)
    masks = zip(place["mask_offsets"], place["mask_sizes"], strict=True)
    planes = [png.decode(read(*mask)) for mask in masks]

    def mask(instance: Mapping[str, Any]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = planes[instance["plane"]] == instance["id"]
        return found

    return truth_cell(shown(pixels, record), record, mask)
