"""The pictures and volumes of a corpus as scenes, one piece of work each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import jpeg, png
from medshards.evaluate.prompts.distance import units
from medshards.evaluate.prompts.target import Part, Scene
from medshards.evaluate.volumes.stacks import spacing_of
from medshards.shards.read.corpus import BadSample, Corpus, Raw
from medshards.vocab.vocabulary import Vocabulary

COLUMNS = ["key", "split", "group", "volume"]
AIR = -300  # HU; less is no body
SCALE = 1000  # of the intensities of a scene


@dataclass(frozen=True)
class Place:
    """A picture, or the slices of a volume that lie in one split: what one worker does at a time.

    samples: their numbers in the split of their dataset. keys: their keys, in the same order.
    """

    slug: str
    split: str
    name: str
    group: str
    samples: tuple[int, ...]
    keys: tuple[str, ...]


def places(corpus: Corpus, split: str) -> list[Place]:
    """The pictures and volumes of a split of one dataset, in the order of the shards."""
    (slug,) = corpus.slugs
    table = corpus.indices[slug].read(COLUMNS)
    rows = [row for row in table.to_pylist() if row["split"] == split]
    together: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        together[bool(row["volume"]), row["volume"] or row["key"]].append(number)
    found = []
    for (_, name), numbers in together.items():
        keys = tuple(rows[n]["key"] for n in numbers)
        found.append(Place(slug, split, name, rows[numbers[0]]["group"], tuple(numbers), keys))
    return found


def read_scenes(
    corpus: Corpus, place: Place, borrow: Callable[[str], tuple[str, Part] | None] = lambda concept: None
) -> Iterator[tuple[str, Scene]]:
    """The scenes of a place, each with the key of the sample that carries its prompts: that of the first slice.

    A volume whose record gives no grid (so no distance of slices) is taken as pictures. Raises BadSample.
    """
    raws = [corpus.read(number) for number in place.samples]
    if raws[0].record.get("volume") and raws[0].record.get("grid"):
        yield place.keys[0], _scene(place.name, raws, True, borrow, corpus.vocabulary)
    else:
        for key, raw in zip(place.keys, raws, strict=True):
            yield key, _scene(key, [raw], False, borrow, corpus.vocabulary)


def _scene(
    key: str,
    raws: Sequence[Raw],
    volume: bool,
    borrow: Callable[[str], tuple[str, Part] | None],
    vocabulary: Vocabulary,
) -> Scene:
    records = [raw.record for raw in raws]
    shape, spacing, length = _frame(records[0], volume)
    planes = [int(r["slice"][0]) if volume else 0 for r in records]
    windows = _windows(records, planes, volume)
    crops = {concept: np.zeros([b - a for a, b in spans], bool) for concept, spans in windows.items()}
    instances: dict[str, list[Part]] = defaultdict(list)
    for raw, plane in zip(raws, planes, strict=True):
        maps = _maps(raw)
        for instance in raw.record["instances"]:
            concept, (x, y, width, height) = instance["concept"], instance["bbox"]
            own = maps[instance["plane"]][y : y + height, x : x + width] == instance["id"]
            at = (plane, y, x) if volume else (y, x)
            low = [a - span[0] for a, span in zip(at, windows[concept], strict=True)]
            rows, columns = slice(low[-2], low[-2] + height), slice(low[-1], low[-1] + width)
            crops[concept][(low[0], rows, columns) if volume else (rows, columns)] |= own
            if not volume:
                instances[concept].append(Part(own, at))
    classes = {c: Part(crop, tuple(a for a, _ in windows[c])) for c, crop in crops.items() if crop.any()}
    absent = set.union(*(set(r["absent"]) for r in records)) - set(classes)
    unit = (records[0].get("intensity") or {}).get("unit", "")
    return Scene(
        key,
        str(records[0]["dataset"]),
        shape,
        spacing,
        length,
        classes,
        {i["concept"]: i["text"] for r in records for i in r["instances"]},
        lambda: _pixels(raws, planes, shape),
        tuple(sorted(absent)),
        {concept: parts for concept, parts in instances.items() if len(parts) > 1},
        AIR * SCALE if unit == "HU" else None,
        _window(records),
        borrow,
        vocabulary,
    )


def _frame(record: Mapping[str, Any], volume: bool) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Shape, spacing in units and the name of the unit of length."""
    height, width = record["size"]
    if not volume:
        spacing = record["spacing"] or (1.0, 1.0)
        return (height, width), units(spacing), "mm" if record["spacing"] else "px"
    return (record["grid"]["shape"][0], height, width), units(spacing_of(record)), "mm"


def _windows(
    records: Sequence[Mapping[str, Any]], planes: Sequence[int], volume: bool
) -> dict[str, list[tuple[int, int]]]:
    """Box of each concept, (first, last + 1) along each axis of the frame."""
    boxes: dict[str, list[list[tuple[int, int]]]] = defaultdict(list)
    for record, plane in zip(records, planes, strict=True):
        for instance in record["instances"]:
            x, y, width, height = instance["bbox"]
            flat = [(y, y + height), (x, x + width)]
            boxes[instance["concept"]].append([(plane, plane + 1), *flat] if volume else flat)
    return {
        concept: [(min(a for a, _ in spans), max(b for _, b in spans)) for spans in zip(*own, strict=True)]
        for concept, own in sorted(boxes.items())
    }


def _window(records: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The display window of the first slice, in thousandths; all grey levels of a picture."""
    intensity = records[0].get("intensity")
    low, high = intensity["window"] if intensity else (0.0, 255.0)
    return low * SCALE, high * SCALE


def _maps(raw: Raw) -> list[NDArray[Any]]:
    try:
        return [png.decode(data) for data in raw.planes]
    except ValueError as error:
        raise BadSample(f"{raw.name}: its mask cannot be decoded: {error}") from error


def _pixels(raws: Sequence[Raw], planes: Sequence[int], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The image in thousandths of its unit; slices that the corpus lacks are 0. Colours are averaged."""
    frame = np.zeros(shape, np.int32)
    for raw, plane in zip(raws, planes, strict=True):
        pixels = (jpeg.decode(raw.image, 3) if raw.extension == "jpg" else png.decode(raw.image)).astype(
            np.int64
        )
        intensity = raw.record.get("intensity") or {"slope": 1.0, "intercept": 0.0}
        if pixels.ndim == 3:
            pixels = pixels.sum(2) // 3
        values = np.rint((pixels * float(intensity["slope"]) + float(intensity["intercept"])) * SCALE)
        limit = np.iinfo(np.int32)
        frame[plane if len(shape) == 3 else ...] = np.clip(values, limit.min, limit.max)
    return frame


def lender(
    corpus: Corpus, place: Place, others: Collection[Place]
) -> Callable[[str], tuple[str, Part] | None]:
    """What gives the mask of a concept in the next scene of another group that shows it."""
    ordered = sorted(
        (p for p in others if p.slug == place.slug), key=lambda p: (p.name <= place.name, p.name)
    )

    def borrow(concept: str) -> tuple[str, Part] | None:
        for other in (p for p in ordered if p.group != place.group):
            for _, scene in read_scenes(corpus, other):
                if concept in scene.classes:
                    return scene.key, scene.classes[concept]
        return None

    return borrow
