"""The objective of SAM3's training: matching, loss terms and their weighted total.

The terms follow Medical SAM3 (arXiv 2601.10880, section 3.4 and Table 2) and, where the paper is silent, the
behaviour of the official SAM3 training code. Everything is computed in float32, outside autocast.
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from medshards.train.model.outputs import Outputs, Targets
from medshards.train.objective import losses
from medshards.train.objective.matching import MatcherConfig, Pairs, match
from medshards.train.section import Section


class LossWeights(Section):
    """Weight of each term in the total; Medical SAM3, Table 2."""

    l1: NonNegativeFloat = 5.0
    giou: NonNegativeFloat = 2.0
    ce: NonNegativeFloat = 20.0
    presence: NonNegativeFloat = 20.0
    mask: NonNegativeFloat = 200.0
    dice: NonNegativeFloat = 10.0
    semantic_seg: NonNegativeFloat = 20.0
    semantic_dice: NonNegativeFloat = 30.0
    semantic_presence: NonNegativeFloat = 1.0
    o2m: NonNegativeFloat = 2.0
    """Factor on every term of the one-to-many query set."""


class ObjectiveConfig(Section):
    """All choices of the objective; the defaults are preset ``official``."""

    weights: LossWeights = LossWeights()
    matcher: MatcherConfig = MatcherConfig()
    alpha_cls: float = Field(default=0.25, ge=0, le=1)
    """Exponent of the probability in the soft label of a matched query; IoU has 1 - alpha_cls."""
    gamma_cls: NonNegativeFloat = 2.0
    """Exponent of the probability that scales the loss of an unmatched query."""
    instance_masks: bool = True
    """Train the instance masks of the final layer. The paper's equations leave them out; the official code
    does not, and evaluation uses them."""
    mask_points: bool = False
    """Compare instance masks at the predicted resolution, against area-averaged targets: less memory."""
    mask_chunk: PositiveInt = 32
    """Instance masks compared at a time; more than that are recomputed in the backward pass."""
    semantic: bool = True
    """Train the semantic map, the union of all instances of a prompt."""
    semantic_presence_from_decoder: bool = False
    """The released model has no presence head on its semantic map, so that term is 0; on, the term is the
    cross-entropy of the decoder's final presence logit instead."""
    scale_by_sqrt_prompts: bool = True
    """Multiply the total by the square root of this rank's number of prompts."""


PRESETS: dict[str, ObjectiveConfig] = {
    # What the official SAM3 training code computes in its segmentation configuration.
    "official": ObjectiveConfig(),
    # The paper's equations (2)-(4) and Table 2 alone: no instance masks, no scaling by the batch.
    "paper_table2": ObjectiveConfig(instance_masks=False, scale_by_sqrt_prompts=False),
}


@dataclass(frozen=True)
class Norms:
    """What the sums behind the terms are divided by.

    Left out, `objective` takes the counts of its own forward pass, as the official code does, with the
    instances averaged over ranks. A trainer that knows the counts of a whole update gives each of its K forward
    passes a K-th of them; then the mean of the K totals, and of their gradients, is the same however the
    update was divided.
    """

    boxes: Tensor | float  # target instances
    prompts: float
    positives: float  # prompts with a target
    scale: float  # prompts under the root of `scale_by_sqrt_prompts`; not a share, but all of them

    @classmethod
    def of_update(cls, boxes: int, prompts: int, positives: int, passes: int) -> "Norms":
        """Shares of an update that is divided into ``passes`` forward passes, on all ranks together."""
        return cls(max(boxes, 1) / passes, prompts / passes, positives / passes, prompts)


def objective(
    outputs: Outputs,
    targets: Targets,
    config: ObjectiveConfig = PRESETS["official"],
    norms: Norms | None = None,
    of_maps: losses.MapLosses = losses.map_losses,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The scalar to minimise, and its terms for logging; ``of_maps`` computes the losses of masks.

    The terms are float32 scalars, detached and without weights: ``ce``, ``l1``, ``giou``, ``presence``,
    ``mask``, ``dice``, with ``_aux_l`` for layer l before the final one and ``_o2m`` for the one-to-many set;
    ``semantic_seg``, ``semantic_dice``, ``semantic_presence``; and ``num_boxes``, the normaliser.
    The set of names depends on the config and on which outputs are present, never on the batch.

    Under torch.distributed and without ``norms`` every rank must call this at the same step, because the
    normaliser is all-reduced.

    Raises FloatingPointError, naming the prompt, when a prediction is NaN; ValueError when masks are to be
    trained and the targets have none.
    """
    if targets.masks is None and len(targets.boxes) and _wants_masks(outputs, config):
        raise ValueError(
            "the objective trains masks, but the targets have none: load masks with the boxes, or switch "
            "instance_masks and semantic off"
        )
    with torch.autocast(outputs.logits.device.type, enabled=False):
        prompts, positives = len(targets.num_boxes), int((targets.num_boxes > 0).sum())
        if norms is None:
            norms = Norms(num_boxes_norm(targets), prompts, positives, prompts)
        normaliser = torch.as_tensor(norms.boxes, dtype=torch.float32)
        of_prompts = prompts / norms.prompts
        of_positives = positives / norms.positives if positives else 1.0
        positive = (targets.num_boxes > 0).to(outputs.logits.device, non_blocking=True)
        o2o, o2m = match(outputs, targets, config.matcher)

        one = _pair_terms(
            outputs.logits, outputs.boxes, outputs.masks, o2o, targets, normaliser, config, of_maps
        )
        one["ce"] = one["ce"] * of_prompts
        one["presence"] = losses.presence_loss(outputs.presence.float(), positive) * of_prompts
        one |= {
            name: term * of_positives
            for name, term in _semantic_terms(outputs, targets, config, of_maps).items()
        }
        if config.semantic_presence_from_decoder:
            one["semantic_presence"] = _decoder_presence(outputs, positive) * of_prompts
        total, terms = _weighted(one, config.weights), _named(one)
        if o2m is not None and outputs.logits_o2m is not None and outputs.boxes_o2m is not None:
            many = _pair_terms(
                outputs.logits_o2m,
                outputs.boxes_o2m,
                outputs.masks_o2m,
                o2m,
                targets,
                normaliser,
                config,
                of_maps,
            )
            many["ce"] = many["ce"] * of_prompts
            total = total + config.weights.o2m * _weighted(many, config.weights)
            terms |= _named(many, "_o2m")
        if config.scale_by_sqrt_prompts:
            total = total * math.sqrt(norms.scale)
        # Under DistributedDataParallel every output must reach the loss; an empty slice does so for nothing.
        total = total + torch.stack([output[:0].float().sum() for output in outputs.tensors()]).sum()
    return total, terms | {"num_boxes": normaliser}


def num_boxes_norm(targets: Targets) -> Tensor:
    """Normaliser of the pair terms: target instances per rank, averaged over all ranks, at least 1.

    With the mean that DistributedDataParallel takes of the gradients, pair terms become an average over all
    instances of the global batch. A float32 scalar on the targets' device, so that no rank waits for it.
    """
    count = torch.full((), float(len(targets.boxes)), device=targets.boxes.device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=1)


def _pair_terms(
    logits: Tensor,
    boxes: Tensor,
    masks: Tensor | None,
    pairs: Pairs,
    targets: Targets,
    normaliser: Tensor,
    config: ObjectiveConfig,
    of_maps: losses.MapLosses,
) -> dict[str, Tensor]:
    """Terms of one query set; those of every layer as (L,), those of the final layer alone as (1,)."""
    device = logits.device
    l1, giou, iou = losses.box_losses(boxes.float(), targets.boxes.float(), pairs.to(device))
    last = pairs.last_of_query()  # a query with several targets takes its label from the last
    ce = losses.classification_loss(
        logits.float(),
        pairs.select(last).to(device),
        iou[last.to(device, non_blocking=True)],
        (targets.num_boxes > 0).to(device, non_blocking=True),
        config.alpha_cls,
        config.gamma_cls,
    )
    terms = {"ce": ce, "l1": l1 / normaliser, "giou": giou / normaliser}
    if config.instance_masks and masks is not None:
        final = pairs.of_layer(len(logits) - 1)
        if targets.is_valid_mask is not None:
            final = final.select(targets.is_valid_mask.cpu()[final.target])
        mask, dice = losses.mask_losses(
            masks, _target_masks(targets), final.to(device), config.mask_points, config.mask_chunk, of_maps
        )
        terms |= {"mask": mask[None] / normaliser, "dice": dice[None] / normaliser}
    return terms


def _semantic_terms(
    outputs: Outputs, targets: Targets, config: ObjectiveConfig, of_maps: losses.MapLosses
) -> dict[str, Tensor]:
    """Terms of the semantic map, each (1,)."""
    if not config.semantic or outputs.semantic is None:
        return {}
    focal, dice = losses.semantic_losses(
        outputs.semantic, _target_masks(targets), targets.num_boxes.tolist(), config.mask_chunk, of_maps
    )
    return {"semantic_seg": focal[None], "semantic_dice": dice[None]}


def _decoder_presence(outputs: Outputs, positive: Tensor) -> Tensor:
    """Cross-entropy of the decoder's final presence logit, (1,)."""
    return F.binary_cross_entropy_with_logits(outputs.presence[-1].float(), positive.float())[None]


def _wants_masks(outputs: Outputs, config: ObjectiveConfig) -> bool:
    instances = outputs.masks is not None or outputs.masks_o2m is not None
    return (config.instance_masks and instances) or (config.semantic and outputs.semantic is not None)


def _target_masks(targets: Targets) -> Tensor:
    if targets.masks is None:  # a batch without any target
        return torch.zeros((0, 1, 1), dtype=torch.bool, device=targets.boxes.device)
    return targets.masks


def _weighted(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Sum of all terms and layers, each with its weight."""
    return torch.stack([getattr(weights, name) * values.sum() for name, values in terms.items()]).sum()


def _named(terms: dict[str, Tensor], suffix: str = "") -> dict[str, Tensor]:
    """One scalar per term and layer; the final layer has no number."""
    named = {}
    for name, values in terms.items():
        *aux, final = values.detach().unbind()
        named[name + suffix] = final
        named |= {f"{name}_aux_{layer}{suffix}": value for layer, value in enumerate(aux)}
    return named
