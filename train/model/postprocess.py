"""From uint8 images to network input, and from network output to scores and masks at the image's own size."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medshards.train.model.outputs import Outputs

THRESHOLD = 0.5


class Predictions(NamedTuple):
    """Instances of one prompt; Q queries, those of the one-to-one set."""

    scores: Tensor  # (Q,) float32 in [0, 1]
    boxes: Tensor  # (Q, 4) float32, left, top, right, bottom in pixels of the image
    masks: Tensor  # (Q, H, W) bool, at the image's own size


def normalise(images: Tensor) -> Tensor:
    """uint8 images (I, 3, H, W) of network size to float32 in [-1, 1]: x / 255, mean 0.5, deviation 0.5."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, found {images.dtype}")
    return images.float().div_(127.5).sub_(1)


def scores(outputs: Outputs) -> Tensor:
    """Score (B, Q) of each query: that it shows an instance, times that the concept occurs in the image at
    all.

    The second factor is needed: queries of prompts without any instance are never trained to be low.
    """
    return outputs.logits[-1].float().sigmoid() * outputs.presence[-1].float().sigmoid()[:, None]


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask logits (K, h, w) to probabilities (K, H, W): bilinear first, then the sigmoid."""
    return F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0].sigmoid()


def absolute_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Relative cxcywh boxes (..., 4) to left, top, right, bottom in pixels of an image (H, W)."""
    centre, extent = boxes.float().split(2, dim=-1)
    scale = boxes.new_tensor([size[1], size[0], size[1], size[0]], dtype=torch.float32)
    return torch.cat([centre - extent / 2, centre + extent / 2], dim=-1) * scale


@torch.no_grad()
def predictions(outputs: Outputs, prompt: int, size: tuple[int, int]) -> Predictions:
    """All instances of one prompt of the batch at the size (H, W) of its image; boxes are not clipped."""
    if outputs.masks is None:
        raise ValueError("these outputs have no masks")
    masks = upsample(outputs.masks[prompt], size) > THRESHOLD
    return Predictions(scores(outputs)[prompt], absolute_boxes(outputs.boxes[-1, prompt], size), masks)
