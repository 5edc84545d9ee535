"""Validation during training: text-prompt Dice on the validation split, at the side of the network input.

Each concept that an image holds is asked for with its canonical text, and the prediction is compared with the
union of its instances: ``top1`` is the mask of the query with the highest score, ``union`` joins all masks with
a score of at least 0.5, ``semantic`` is the semantic map times the presence. No score is held against a
threshold in ``top1``, so that early checkpoints can be told apart. Concepts that are known to be absent count
in ``absent``: the share of them whose highest score stays below 0.5.

A dataset's score is the mean over its pairs of image and concept, the score of a checkpoint the mean over
datasets. A damaged image is left out and named.
(`medshards evaluate` measures at native resolution and reports much more.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from medshards.common.spread import spread
from medshards.train.data.batch import Bad, Batch
from medshards.train.data.feed import Feed
from medshards.train.data.loader import Samples
from medshards.train.data.plan import Request
from medshards.train.model.outputs import Outputs
from medshards.train.model.postprocess import THRESHOLD, scores, upsample
from medshards.train.run.config import Config
from medshards.train.run.parallel import World

KINDS = ("top1", "union", "semantic")


@dataclass(frozen=True)
class Overlay:
    """An image with what was asked, found and true: image (3, S, S) uint8, masks (S, S) bool."""

    name: str
    text: str
    image: Tensor
    found: Tensor
    truth: Tensor


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
        return sum(values) / len(values) if values else None


class Validator:
    """Validates on one fixed choice of images."""

    def __init__(self, samples: Samples, config: Config, ranks: World) -> None:
        self.samples, self.corpus, self.config, self.ranks = samples, samples.corpus, config, ranks
        first, chosen = 0, []
        for table in self.corpus.tables.values():
            chosen += [first + place for place in spread(range(len(table)), config.run.validate_images)]
            first += len(table)
        size = config.batch.per_rank
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
        slugs, data = self.corpus.slugs, self.config.data
        sums = torch.zeros(len(slugs), len(KINDS) + 1, 2, dtype=torch.float64)
        model.eval()
        requests, mine = self._mine()
        with Feed(self.samples, requests, min(data.workers, len(requests)), data.prefetch) as feed:
            for batch, counts in zip(feed, mine, strict=True):
                enabled = self.config.run.precision == "bf16"
                with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                    outputs = model(**batch.inputs(device))
                if counts:
                    self._add(batch, outputs, sums, overlays)
                    bad += batch.bad
                    left_out += sum(batch.void)
        model.train()
        *numbers, out = self.ranks.sum(*sums.flatten().tolist(), left_out)
        datasets = {
            slug: {k: float(s / n) for k, (s, n) in zip((*KINDS, "absent"), row.tolist()) if n}
            for slug, row in zip(slugs, torch.tensor(numbers, dtype=torch.float64).view_as(sums))
        }
        return Report(datasets, overlays, self.ranks.gather([each.reason for each in bad]), int(out))

    def _add(self, batch: Batch, outputs: Outputs, sums: Tensor, overlays: list[Overlay]) -> None:
        """Add the measures of a batch to ``sums`` (datasets, kinds and absent, sum and count)."""
        found = masks_of(outputs, batch.images.shape[-1])
        truth = truth_of(batch, self.ranks.device)
        dice = torch.stack([dice_of(found[kind], truth) for kind in KINDS], dim=1).cpu()
        quiet = (scores(outputs).amax(1) < THRESHOLD).cpu()
        for place, prompt in enumerate(batch.prompts):
            image = int(batch.img_id[place])
            if batch.void[image]:
                continue
            row = sums[self.corpus.slugs.index(batch.names[image].split("/")[0])]
            if prompt.instances:
                row[:-1] += torch.stack([dice[place], torch.ones(len(KINDS))], dim=1)
                if len(overlays) < self.config.run.overlays and self.ranks.first:
                    shown = found[self.config.run.validate_mask][place].cpu()
                    overlays.append(
                        Overlay(
                            batch.names[image], prompt.text, batch.images[image], shown, truth[place].cpu()
                        )
                    )
            else:
                row[-1] += torch.tensor([float(quiet[place]), 1])

    def _mine(self) -> tuple[list[list[Request]], list[bool]]:
        """This rank's batches, as many on every rank (FSDP needs that); False: another rank counts it."""
        ranks, there = self.ranks, len(self._requests)
        places = range(ranks.rank, -(-there // ranks.size) * ranks.size, ranks.size)
        return (
            [self._requests[place if place < there else 0] for place in places],
            [place < there for place in places],
        )


def masks_of(outputs: Outputs, side: int) -> dict[str, Tensor]:
    """The predicted mask (B, side, side) bool of each prompt, by kind."""
    if outputs.masks is None or outputs.semantic is None:
        raise ValueError("validation needs the outputs' masks")
    score = scores(outputs)
    everyone = torch.arange(len(score), device=score.device)
    top1 = upsample(outputs.masks[everyone, score.argmax(1)], (side, side)) > THRESHOLD
    union = torch.zeros_like(top1)
    for prompt, query in (score >= THRESHOLD).nonzero().tolist():
        union[prompt] |= upsample(outputs.masks[prompt, query : query + 1], (side, side))[0] > THRESHOLD
    presence = outputs.presence[-1].float().sigmoid()[:, None, None]
    semantic = upsample(outputs.semantic, (side, side)) * presence > THRESHOLD
    return {"top1": top1, "union": union, "semantic": semantic}


def truth_of(batch: Batch, device: torch.device) -> Tensor:
    """The union (B, S, S) bool of each prompt's instances."""
    targets = batch.targets(device)
    assert targets.masks is not None
    return torch.stack([masks.any(0) for masks in targets.masks.split(targets.num_boxes.tolist())])


def dice_of(found: Tensor, truth: Tensor) -> Tensor:
    """Dice (B,) of masks (B, H, W) bool; 1 where both are empty."""
    both = (found & truth).flatten(1).sum(1)
    sizes = found.flatten(1).sum(1) + truth.flatten(1).sum(1)
    return torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0)
