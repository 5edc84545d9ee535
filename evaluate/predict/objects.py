"""From answers on slices to objects: contested pixels given away, and what touches from slice to slice made one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medshards.curate.sample import Region
from medshards.evaluate.predict.inputs import Opened
from medshards.evaluate.segmenter import Query, Segmenter
from medshards.evaluate.volumes.stacks import common
from medshards.train.model.answers import Answer, Rule
from medshards.train.model.contest import resolve


@dataclass(frozen=True, eq=False)
class Object:
    """One thing found: the number of its text, the highest score in any slice, and its pixels by slice."""

    text: int
    score: float
    regions: Mapping[int, Region]

    @property
    def area(self) -> int:
        """Pixels in all slices."""
        return sum(region.area for region in self.regions.values())


@dataclass(frozen=True)
class Result:
    """What was found in one input. presence: of each text, the highest in any slice."""

    opened: Opened
    objects: tuple[Object, ...]
    presence: tuple[float, ...]


def segment(
    segmenter: Segmenter,
    opened: Opened,
    texts: Sequence[str],
    rules: Sequence[Rule],
    broader: Mapping[str, Sequence[str]],
    progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Ask every slice for every text; each has its rule. broader: wider texts, which do not compete with a text.

    progress is called with the number of slices done. Only regions are kept, so memory does not grow with the volume.
    """
    floor = min(rule.floor for rule in rules)
    semantic = any(rule.aggregate == "semantic" for rule in rules)
    count = len(opened.slices)
    pieces: list[tuple[int, int, float, Region]] = []  # text, slice, score, region
    presence = [0.0] * len(texts)
    for start in range(0, count, segmenter.batch):
        numbers = range(start, min(start + segmenter.batch, count))
        queries = [
            Query(opened.name if count == 1 else f"{opened.name}-{n:04d}", opened.slices[n], tuple(texts))
            for n in numbers
        ]
        for number, answers in zip(numbers, segmenter.segment(queries, floor, semantic), strict=True):
            presence = [max(p, a.presence) for p, a in zip(presence, answers, strict=True)]
            pieces += [(text, number, *rest) for text, *rest in _pieces(texts, answers, rules, broader)]  # type: ignore[misc]
        progress(min(start + segmenter.batch, count))
    return Result(opened, tuple(_joined(pieces)), tuple(presence))


def _pieces(
    texts: Sequence[str],
    answers: Sequence[Answer],
    rules: Sequence[Rule],
    broader: Mapping[str, Sequence[str]],
) -> list[tuple[int, float, Region]]:
    """(text, score, region) of every instance of one slice after contested pixels were given away."""
    asked = list(zip(texts, answers, rules, strict=True))
    masks = resolve({text: answer.claim(rule) for text, answer, rule in asked}, broader)
    found = []
    for number, (text, answer, rule) in enumerate(asked):
        if rule.aggregate == "semantic":
            region = Region.of(masks[text])
            found += [(number, answer.presence, region)] if region.area else []
        for one in answer.chosen(rule):
            window = one.region.window()
            region = Region.of(one.region.crop & masks[text][window], one.region.top, one.region.left)
            found += [(number, one.score, region)] if region.area else []
    return found


def _joined(pieces: Sequence[tuple[int, int, float, Region]]) -> list[Object]:
    """Pieces of one text that share a pixel in neighbouring slices are one object; in order of text and score."""
    root = list(range(len(pieces)))

    def find(k: int) -> int:
        while root[k] != k:
            root[k] = root[root[k]]
            k = root[k]
        return k

    by_slice: dict[tuple[int, int], list[int]] = {}
    for k, (text, number, _, region) in enumerate(pieces):
        for other in by_slice.get((text, number - 1), []):
            if common(region, pieces[other][3]):
                root[find(k)] = find(other)
        by_slice.setdefault((text, number), []).append(k)
    members: dict[int, list[int]] = {}
    for k in range(len(pieces)):
        members.setdefault(find(k), []).append(k)
    objects = []
    for group in members.values():
        regions: dict[int, Region] = {}
        for k in group:
            _, number, _, region = pieces[k]
            regions[number] = _union(regions[number], region) if number in regions else region
        objects.append(Object(pieces[group[0]][0], max(pieces[k][2] for k in group), regions))
    return sorted(objects, key=lambda o: (o.text, -o.score))


def _union(a: Region, b: Region) -> Region:
    bottom = max(a.top + a.crop.shape[0], b.top + b.crop.shape[0])
    right = max(a.left + a.crop.shape[1], b.left + b.crop.shape[1])
    top, left = min(a.top, b.top), min(a.left, b.left)
    mask = np.zeros((bottom - top, right - left), bool)
    for r in (a, b):
        mask[
            r.top - top : r.top - top + r.crop.shape[0], r.left - left : r.left - left + r.crop.shape[1]
        ] |= r.crop
    return Region.of(mask, top, left)
