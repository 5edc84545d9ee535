"""From uint8 images to network input, and from network output to scores and masks at the image's own size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medshards.train.model.outputs import Outputs

THRESHOLD = 0.5


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
