"""Validation during training: text-prompt Dice on the validation split, at the side of the network input.

Each concept that an image holds is asked for with its canonical text. The answers, the masks that follow from them
and contested pixels are those of the engine that `medshards evaluate` asks, so on images of that side both give the
same figures. ``top1``, ``union`` and ``semantic`` are its rules; no score is held against a threshold in ``top1``,
so that early checkpoints can be told apart. ``absent``: of the concepts known to be absent the share whose answer is
empty (``union``); ``impossible``: the same of concepts that such a picture cannot show, trained or not
(vocab/scenes.yaml): whether the model still listens.

A dataset's score is the mean over its pairs of image and concept, the score of a checkpoint the mean over
datasets. A damaged image is left out and named.
(`medshards evaluate` measures at native resolution and reports much more.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medshards.common.overlap import overlap
from medshards.common.spread import spread
from medshards.shards.read.chain import read_manifest
from medshards.train.data.batch import Bad, Batch, unpack
from medshards.train.data.feed import Feed
from medshards.train.data.loader import Samples
from medshards.train.data.plan import Request
from medshards.train.model.answers import UNION_SCORE, Rule, answer
from medshards.train.model.contest import resolve
from medshards.train.model.outputs import Outputs
from medshards.train.run.config import Config
from medshards.train.run.parallel import World

RULES = {"top1": Rule("top1", 0.0), "union": Rule("union", UNION_SCORE), "semantic": Rule("semantic")}
KINDS = (*RULES, "absent", "impossible")
Measured = tuple[str, str, float]  # dataset, kind, value


@dataclass(frozen=True)
class Overlay:
    """An image with what was asked, found and true: image (3, S, S) uint8, masks (S, S) bool."""

    name: str
    text: str
    image: Tensor
    found: NDArray[np.bool_]
    truth: NDArray[np.bool_]


@dataclass
class Report:
    """Means by dataset and over datasets; ``overlays`` on the first rank only.

    bad: each damaged image and what is wrong with it. left_out: number of images that could not be used.
    """

    datasets: dict[str, dict[str, float]]
    overlays: list[Overlay] = field(default_factory=list)
    bad: Sequence[str] = ()
    left_out: int = 0

    def mean(self, kind: str) -> float | None:
        """Mean over the datasets that have this measure, None when none has."""
        values = [row[kind] for row in self.datasets.values() if kind in row]
        return math.fsum(values) / len(values) if values else None


class Validator:
    """Validates on one fixed choice of images."""

    def __init__(self, samples: Samples, config: Config, ranks: World) -> None:
        self.samples, self.corpus, self.config, self.ranks = samples, samples.corpus, config, ranks
        first, chosen = 0, []
        for table in self.corpus.tables.values():
            chosen += [first + place for place in spread(range(len(table)), config.run.validate_images)]
            first += len(table)
        self._broader: dict[str, dict[str, list[str]]] = {
            slug: read_manifest(self.corpus.store, slug, self.corpus.facts)["policy"]["ancestors"]
            for slug in self.corpus.slugs
        }
        size = config.batch.in_a_pass
        self._requests = [
            [Request(0, sample) for sample in chosen[start : start + size]]
            for start in range(0, len(chosen), size)
        ]

    def __bool__(self) -> bool:
        return bool(self._requests)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Report:
        """Validate; every rank must call it, and the model is in training mode again afterwards."""
        device, overlays, bad, left_out = self.ranks.device, list[Overlay](), list[Bad](), 0
        measured: list[Measured] = []
        data = self.config.data
        model.eval()
        requests, mine = self._mine()
        with Feed(self.samples, requests, min(data.workers, len(requests)), data.prefetch) as feed:
            for batch, counts in zip(feed, mine, strict=True):
                enabled = self.config.run.precision == "bf16"
                with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                    outputs = model(**batch.inputs(device))
                if counts:
                    measured += self._add(batch, outputs, overlays)
                    bad += batch.bad
                    left_out += sum(batch.void)
        model.train()
        (out,) = self.ranks.sum(left_out)
        return Report(self._means(measured), overlays, self.ranks.gather([b.reason for b in bad]), int(out))

    def _means(self, measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
        """Over what all ranks measured, by dataset and kind; the sum of a rank is exact, as `evaluate`'s is."""
        values: dict[tuple[str, str], list[float]] = {k: [] for k in product(self.corpus.slugs, KINDS)}
        for slug, kind, value in measured:
            values[slug, kind].append(value)
        sums = self.ranks.sum(*map(math.fsum, values.values()))
        counts = self.ranks.sum(*map(len, values.values()))
        means: dict[str, dict[str, float]] = {slug: {} for slug in self.corpus.slugs}
        for (slug, kind), total, count in zip(values, sums, counts, strict=True):
            if count:
                means[slug][kind] = total / count
        return means

    def _add(self, batch: Batch, outputs: Outputs, overlays: list[Overlay]) -> list[Measured]:
        """The measures of a batch; its masks to draw go to ``overlays`` while there is room."""
        truths, measured = truth_of(batch), []
        for image, name in enumerate(batch.names):
            if batch.void[image]:
                continue
            slug = name.split("/")[0]
            for kind, place, value, mask in self._measured(batch, image, outputs, truths):
                measured.append((slug, kind, float(value)))
                room = self.ranks.first and len(overlays) < self.config.run.overlays
                if room and kind == self.config.run.validate_mask:
                    text = batch.prompts[place].text
                    overlays.append(Overlay(name, text, batch.images[image], mask, truths[place]))
        return measured

    def _measured(
        self, batch: Batch, image: int, outputs: Outputs, truths: Sequence[NDArray[np.bool_]]
    ) -> Iterator[tuple[str, int, float, NDArray[np.bool_]]]:
        """(kind, prompt, value, mask found) of every measure of one image."""
        size = batch.images.shape[-2:]
        asked = {p: batch.prompts[p] for p in (batch.img_id == image).nonzero().flatten().tolist()}
        answers = {p: answer(outputs, p, (size[0], size[1]), UNION_SCORE, semantic=True) for p in asked}
        broader = self._broader[batch.names[image].split("/")[0]]
        for kind, rule in RULES.items():
            claims = {p: answers[p].claim(rule) for p in asked}
            masks = resolve({asked[p].concept: c for p, c in claims.items() if asked[p].possible}, broader)
            for place, prompt in asked.items():
                if prompt.instances:
                    mask = masks[prompt.concept]
                    yield kind, place, overlap(mask, truths[place]).dice, mask
                elif kind == "union":
                    claimed = claims[place].claimed
                    yield ("absent" if prompt.possible else "impossible"), place, not claimed.any(), claimed

    def _mine(self) -> tuple[list[list[Request]], list[bool]]:
        """This rank's batches, as many on every rank (FSDP needs that); False: another rank counts it."""
        ranks, there = self.ranks, len(self._requests)
        places = range(ranks.rank, -(-there // ranks.size) * ranks.size, ranks.size)
        return (
            [self._requests[place if place < there else 0] for place in places],
            [place < there for place in places],
        )


def truth_of(batch: Batch) -> list[NDArray[np.bool_]]:
    """The union (S×S) of each prompt's instances."""
    masks = unpack(batch.masks, batch.images.shape[-1])
    return [own.any(0).numpy() for own in masks.split(batch.num_boxes.tolist())]
