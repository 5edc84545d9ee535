"""Boxes and their overlap. A box is (cx, cy, w, h) or (x1, y1, x2, y2) in any one unit of length."""

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and size to corners; (..., 4) to (..., 4)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def iou_and_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and its generalised form, of corner boxes; shapes broadcast.

    ``a`` (..., 4) and ``b`` (..., 4) give two tensors (...). Generalised IoU (Rezatofighi et al., 2019)
    subtracts the share of the common hull that neither box covers. There is no epsilon: at least one of the
    two boxes must have an area above 0, or the result is NaN.
    """
    area_a = (a[..., 2:] - a[..., :2]).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).prod(-1)
    overlap = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    intersection = overlap.clamp(min=0).prod(-1)
    union = area_a + area_b - intersection
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    iou = intersection / union
    return iou, iou - (hull - union) / hull
