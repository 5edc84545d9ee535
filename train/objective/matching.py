"""Which query answers for which target instance.

Two assignments are used in SAM3's training. *One-to-one* (the Hungarian matching of DETR, Carion et al. 2020)
gives every target one query at the least total cost; *one-to-many* gives it up to ``o2m_top_k`` queries of
the second query set. All costs of all layers are computed at once where the outputs lie, in a packed layout
(layers, M targets, Q queries) that has no padding, and go to the CPU in a single copy, so a GPU waits once
per step and not once per prompt.
"""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from medshards.train.model.outputs import Outputs, Targets
from medshards.train.objective.boxes import cxcywh_to_xyxy, iou_and_giou
from medshards.train.section import Section


class MatcherConfig(Section):
    """Weights of both assignments; the defaults are those of SAM3 and of Medical SAM3."""

    class_weight: NonNegativeFloat = 2.0
    l1_weight: NonNegativeFloat = 5.0
    giou_weight: NonNegativeFloat = 2.0
    alpha: float = Field(default=0.25, ge=0, le=1)
    """Balance of the focal classification cost (Lin et al., 2017)."""
    gamma: NonNegativeFloat = 2.0
    """Its focus."""
    stable: bool = False
    """Multiply the probability by (GIoU + 1) / 2 before the classification cost is taken."""
    o2m_alpha: float = Field(default=0.3, ge=0, le=1)
    """Share of the probability in the quality of a one-to-many pair; the rest is IoU."""
    o2m_threshold: NonNegativeFloat = 0.4
    """A one-to-many pair needs a quality above this."""
    o2m_top_k: PositiveInt = 4
    """A target takes at most this many one-to-many queries."""
    o2m_matcher_on_aux: bool = False
    """Use the one-to-many assignment in the auxiliary layers too; off, they use the one-to-one assignment."""


@dataclass(frozen=True)
class Pairs:
    """P pairs of a query and a target, sorted by layer, prompt, query, target; four int64 tensors (P,)."""

    layer: Tensor
    prompt: Tensor
    query: Tensor
    target: Tensor  # index into the packed targets of the batch

    def __len__(self) -> int:
        return len(self.layer)

    def select(self, chosen: Tensor) -> "Pairs":
        """The pairs that ``chosen`` marks, a boolean mask (P,) or positions."""
        return Pairs(self.layer[chosen], self.prompt[chosen], self.query[chosen], self.target[chosen])

    def of_layer(self, layer: int) -> "Pairs":
        """The pairs of one layer."""
        return self.select(self.layer == layer)

    def last_of_query(self) -> Tensor:
        """Positions of the pairs that are the last of their query in their layer; int64."""
        place = torch.stack((self.layer, self.prompt, self.query))
        followed = (place[:, 1:] == place[:, :-1]).all(
            0
        )  # pairs are sorted, so a query's pairs are neighbours
        return torch.cat((~followed, torch.ones(min(len(self), 1), dtype=torch.bool))).nonzero()[:, 0]

    def to(self, device: torch.device) -> "Pairs":
        """The same pairs on ``device``, moved in one copy."""
        together = torch.stack((self.layer, self.prompt, self.query, self.target))
        return Pairs(*together.to(device, non_blocking=True).unbind())

    def triples(self) -> set[tuple[int, int, int]]:
        """(prompt, query, target) of all pairs, whatever their layer."""
        return set(zip(self.prompt.tolist(), self.query.tolist(), self.target.tolist()))


@torch.no_grad()
def match(outputs: Outputs, targets: Targets, config: MatcherConfig) -> tuple[Pairs, Pairs | None]:
    """Assign queries of both sets in all layers.

    Returns the pairs of the one-to-one set and those of the one-to-many set (None where the outputs lack it),
    on the CPU. The one-to-many set is assigned one-to-many in the final layer and one-to-one before it
    (``o2m_matcher_on_aux`` off), as in the official training code.

    Raises FloatingPointError, naming layer and prompt, when a cost is NaN or infinite.
    """
    layers = len(outputs.logits)
    logits, boxes = outputs.logits, outputs.boxes
    if outputs.logits_o2m is None or outputs.boxes_o2m is None:
        table = to_host(assignment_cost(logits, boxes, targets, config))
        _refuse_non_finite(table, targets, [f"layer {k}" for k in range(layers)])
        return solve(table, targets), None

    hungarian = 0 if config.o2m_matcher_on_aux else layers - 1  # layers of the o2m set assigned one-to-one
    cost = assignment_cost(
        torch.cat((logits, outputs.logits_o2m[:hungarian])),
        torch.cat((boxes, outputs.boxes_o2m[:hungarian])),
        targets,
        config,
    )
    quality = pair_quality(outputs.logits_o2m[hungarian:], outputs.boxes_o2m[hungarian:], targets, config)
    table = to_host(torch.cat((cost, quality)))
    names = [f"layer {k}{queries}" for queries in ("", ", one-to-many queries") for k in range(layers)]
    _refuse_non_finite(table, targets, names)

    o2o, aux, many = table.split((layers, hungarian, layers - hungarian))
    early, late = solve(aux, targets), best_per_target(many, targets, config)
    o2m = Pairs(
        torch.cat((early.layer, late.layer + hungarian)),
        torch.cat((early.prompt, late.prompt)),
        torch.cat((early.query, late.query)),
        torch.cat((early.target, late.target)),
    )
    return solve(o2o, targets), o2m


def to_host(table: Tensor) -> Tensor:
    """A table on the CPU, where it is solved: the one place of an update that waits for the device."""
    return table.cpu()


def assignment_cost(logits: Tensor, boxes: Tensor, targets: Targets, config: MatcherConfig) -> Tensor:
    """Cost of every query for every target of its own prompt; lower is better.

    ``logits`` (K, B, Q) and ``boxes`` (K, B, Q, 4) give (K, M, Q) float32: the weighted sum of the L1
    distance of the boxes, minus their generalised IoU, plus the focal loss of calling the query an object
    less that of calling it background. The presence logit plays no part.
    """
    with torch.autocast(logits.device.type, enabled=False):
        prompt = targets.prompt_of_target().to(logits.device, non_blocking=True)
        found, wanted = boxes.float()[:, prompt], targets.boxes.float()[:, None]
        distance = (found - wanted).abs().sum(-1)
        _, giou = iou_and_giou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted))
        if config.stable:
            p = logits.float().sigmoid()[:, prompt] * (giou + 1) / 2
            tiny = torch.finfo(p.dtype).tiny  # keeps the logarithm finite at p = 0 and p = 1
            log_p, log_not_p = p.clamp(min=tiny).log(), (1 - p).clamp(min=tiny).log()
            focal = _focal_cost(p, log_p, log_not_p, config)
        else:
            x = logits.float()
            focal = _focal_cost(x.sigmoid(), F.logsigmoid(x), F.logsigmoid(-x), config)[:, prompt]
        return config.l1_weight * distance + config.class_weight * focal - config.giou_weight * giou


def _focal_cost(p: Tensor, log_p: Tensor, log_not_p: Tensor, config: MatcherConfig) -> Tensor:
    positive = -config.alpha * (1 - p) ** config.gamma * log_p
    negative = -(1 - config.alpha) * p**config.gamma * log_not_p
    return positive - negative


def pair_quality(logits: Tensor, boxes: Tensor, targets: Targets, config: MatcherConfig) -> Tensor:
    """Quality of every query for every target of its own prompt, (K, M, Q) float32; higher is better.

    It is the weighted mean of the query's probability and the IoU of the two boxes.
    """
    with torch.autocast(logits.device.type, enabled=False):
        prompt = targets.prompt_of_target().to(logits.device, non_blocking=True)
        found, wanted = (
            cxcywh_to_xyxy(boxes.float()[:, prompt]),
            cxcywh_to_xyxy(targets.boxes.float()[:, None]),
        )
        iou, _ = iou_and_giou(found, wanted)
        return config.o2m_alpha * logits.float().sigmoid()[:, prompt] + (1 - config.o2m_alpha) * iou


def solve(cost: Tensor, targets: Targets) -> Pairs:
    """Least-cost one-to-one assignment per layer and prompt of a cost (K, M, Q) on the CPU.

    A prompt with more targets than queries leaves the surplus targets without a query.
    """
    ends = np.cumsum(targets.num_boxes.numpy(force=True))
    found: list[np.ndarray] = []
    for layer, table in enumerate(cost.numpy()):
        for prompt, (start, end) in enumerate(zip([0, *ends[:-1]], ends)):
            if end > start:
                target, query = linear_sum_assignment(table[start:end])
                same = np.full_like(query, 1)
                found.append(np.stack((layer * same, prompt * same, query, target + start)))
    return _sorted_pairs(np.concatenate(found, axis=1) if found else np.zeros((4, 0), np.int64))


def best_per_target(quality: Tensor, targets: Targets, config: MatcherConfig) -> Pairs:
    """One-to-many assignment of a quality (K, M, Q): the best few queries of each target, if good enough.

    A pair is kept when its quality is strictly above ``o2m_threshold`` and strictly above the (1 - k/Q)
    quantile of its target's Q qualities (linear interpolation), which for distinct values are the best k.
    Two targets may share a query.
    """
    queries, k = quality.shape[-1], config.o2m_top_k
    if k < queries:
        # The quantile lies k/Q of the way from the (k+1)-th best value to the k-th best.
        best = quality.topk(k + 1, dim=-1).values
        bound = torch.lerp(best[..., k:], best[..., k - 1 : k], k / queries)
    else:
        bound = quality.amin(-1, keepdim=True)
    layer, target, query = ((quality > bound) & (quality > config.o2m_threshold)).nonzero(as_tuple=True)
    prompt = targets.prompt_of_target()[target]
    return _sorted_pairs(torch.stack((layer, prompt, query, target)).numpy())


def _sorted_pairs(index: np.ndarray) -> Pairs:
    """Pairs of an array (4, P) with the rows layer, prompt, query, target."""
    order = np.lexsort(index[::-1])
    return Pairs(*torch.from_numpy(index[:, order].astype(np.int64)).unbind())


def _refuse_non_finite(table: Tensor, targets: Targets, names: list[str]) -> None:
    """Raise FloatingPointError when a row block of ``table`` (len(names), M, Q) is not finite."""
    bad = (~table.isfinite()).any(-1).nonzero()
    if len(bad):
        layer, target = bad[0].tolist()
        prompt = int(targets.prompt_of_target()[target])
        raise FloatingPointError(
            f"the matching cost of {targets.prompt_name(prompt)}, {names[layer]}, holds NaN or infinity: "
            "a prediction or a target box is not finite, or both boxes have no area. Look at this sample and "
            "at the losses and gradient norms of the last steps; the run may have diverged before."
        )
