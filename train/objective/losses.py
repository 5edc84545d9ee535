"""The loss terms of SAM3, each for all decoder layers at once and without its weight.

Symbols: L layers, B prompts, Q queries, M targets, P matched pairs.
A term that several layers have is a tensor (L,).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from medshards.train.objective.boxes import cxcywh_to_xyxy, iou_and_giou
from medshards.train.objective.matching import Pairs

POSITIVE_WEIGHT = 10.0  # of a matched query in the classification loss
SOFT_TARGET_FLOOR = 0.01
PADDED_QUERIES = 200  # the classification loss is a mean over at least this many queries
MASK_ALPHA, SEMANTIC_ALPHA = 0.25, 0.6  # share of the foreground in the focal losses
PRESENCE_ALPHA = 0.5  # the presence loss is a focal loss with alpha 0.5 and gamma 0, hence half a BCE


MapLosses = Callable[[Tensor, Tensor, float, bool], tuple[Tensor, Tensor]]
"""`map_losses`, or the same compiled."""


def layer_sums(values: Tensor, layer: Tensor, layers: int) -> Tensor:
    """Sum ``values`` (P,) by ``layer`` (P,) to (L,); unlike a scatter, in a fixed order on every device."""
    of_layer = layer == torch.arange(layers, device=layer.device)[:, None]
    return torch.where(of_layer, values, 0).sum(1)


def box_losses(boxes: Tensor, target_boxes: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """L1 and generalised-IoU loss of the matched boxes, each (L,) and *summed* over pairs; and the IoU (P,).

    ``boxes`` (L, B, Q, 4), ``target_boxes`` (M, 4), both float32 (cx, cy, w, h). The IoU carries no gradient.
    """
    found, wanted = boxes[pairs.layer, pairs.prompt, pairs.query], target_boxes[pairs.target]
    iou, giou = iou_and_giou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted))
    l1 = layer_sums((found - wanted).abs().sum(-1), pairs.layer, len(boxes))
    return l1, layer_sums(1 - giou, pairs.layer, len(boxes)), iou.detach()


def classification_loss(
    logits: Tensor, pairs: Pairs, iou: Tensor, positive: Tensor, alpha: float, gamma: float
) -> Tensor:
    """Classification loss aware of the IoU, (L,); Q below 200 counts as 200.

    ``logits`` (L, B, Q) float32, ``pairs`` with no query twice and their ``iou`` (P,), ``positive`` (B,).
    A matched query is drawn to the soft label p^alpha * IoU^(1 - alpha), with weight 10; any other to 0, its
    loss scaled by p^gamma. Prompts without a target add nothing to the sum but count in the mean.
    """
    p = logits.sigmoid()
    at = (pairs.layer, pairs.prompt, pairs.query)
    label = (p.detach()[at] ** alpha * iou ** (1 - alpha)).clamp(min=SOFT_TARGET_FLOOR)
    labels = torch.zeros_like(logits).index_put_(at, label)
    matched = labels > 0  # the floor keeps every label above 0
    toward_label = POSITIVE_WEIGHT * F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    toward_zero = p**gamma * F.softplus(logits)
    loss = torch.where(matched, toward_label, toward_zero) * positive[:, None]
    prompts, queries = logits.shape[1:]
    return loss.sum((1, 2)) / (prompts * max(queries, PADDED_QUERIES))


def presence_loss(presence: Tensor, positive: Tensor) -> Tensor:
    """Half the mean binary cross-entropy of "this prompt has a target".

    ``presence`` (L, B) float32 and ``positive`` (B,) bool give (L,).
    """
    label = positive.to(presence.dtype).expand_as(presence)
    return PRESENCE_ALPHA * F.binary_cross_entropy_with_logits(presence, label, reduction="none").mean(1)


def mask_losses(
    masks: Tensor, target_masks: Tensor, pairs: Pairs, points: bool, chunk: int, of_maps: MapLosses
) -> tuple[Tensor, Tensor]:
    """Focal and Dice loss of the matched instance masks, two scalars *summed* over pairs.

    ``masks`` (B, Q, h, w), ``target_masks`` (M, H, W). Only matched masks are upsampled.
    """
    found = masks[pairs.prompt, pairs.query]
    focal, dice = _map_losses_in_chunks(found, target_masks, pairs.target, MASK_ALPHA, points, chunk, of_maps)
    return focal.sum(), dice.sum()


def semantic_losses(
    semantic: Tensor, target_masks: Tensor, num_boxes: list[int], chunk: int, of_maps: MapLosses
) -> tuple[Tensor, Tensor]:
    """Focal and Dice loss of the semantic map against the union of a prompt's instances, two scalars.

    ``semantic`` (B, h, w), ``target_masks`` (M, H, W), ``num_boxes`` of the B prompts. Both are sums over
    the prompts with targets, divided by the number of prompts whose union is not empty; others add nothing.
    """
    device = semantic.device
    with_targets = torch.tensor([b for b, count in enumerate(num_boxes) if count], dtype=torch.long)
    found = semantic[with_targets.to(device, non_blocking=True)]
    unions = [masks.any(0) for masks in target_masks.split(num_boxes) if len(masks)]
    union = torch.stack(unions) if unions else target_masks[:0]
    every = torch.arange(len(union), device=device)
    focal, dice = _map_losses_in_chunks(found, union, every, SEMANTIC_ALPHA, False, chunk, of_maps)
    prompts = union.flatten(1).any(1).sum() + 1e-6
    return focal.sum() / prompts, dice.sum() / prompts


def _map_losses_in_chunks(
    logits: Tensor, maps: Tensor, index: Tensor, alpha: float, points: bool, chunk: int, of_maps: MapLosses
) -> tuple[Tensor, Tensor]:
    """``of_maps`` (`map_losses`) of ``logits`` (K, h, w) against ``maps[index]``, ``chunk`` maps at a time.

    When one group is not enough, each is computed again in the backward pass rather than kept: at 1008×1008 a
    map costs 4 MB for each of some ten intermediate results.
    """

    def losses_of(part: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        return of_maps(part, maps[chosen], alpha, points)

    parts = list(zip(logits.split(chunk), index.split(chunk)))
    if len(parts) == 1:
        return losses_of(*parts[0])
    found = [checkpoint(losses_of, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.cat([focal for focal, _ in found]), torch.cat([dice for _, dice in found])


def map_losses(logits: Tensor, targets: Tensor, alpha: float, points: bool = False) -> tuple[Tensor, Tensor]:
    """Focal loss (mean over pixels, gamma 2) and Dice loss of each of K maps, two tensors (K,).

    ``logits`` (K, h, w) of any float type, ``targets`` (K, H, W) bool or uint8. The logits are upsampled
    bilinearly to H×W; with ``points`` the targets are averaged over areas down to h×w instead, which takes
    (H*W)/(h*w) times less memory and is not quite the same loss.
    """
    z, y = logits.float()[:, None], targets.bool().float()[:, None]
    if points:
        y = F.interpolate(y, size=z.shape[-2:], mode="area")
    else:
        z = F.interpolate(z, size=y.shape[-2:], mode="bilinear", align_corners=False)
    z, y = z.flatten(1), y.flatten(1)
    q = z.sigmoid()
    both = q * y
    p_wrong = q + y - 2 * both
    balance = (1 - alpha) + (2 * alpha - 1) * y
    focal = balance * p_wrong**2 * F.binary_cross_entropy_with_logits(z, y, reduction="none")
    dice = 1 - (2 * both.sum(1) + 1) / (q.sum(1) + y.sum(1) + 1)
    return focal.mean(1), dice
