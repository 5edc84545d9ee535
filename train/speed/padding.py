"""Few shapes instead of many: prompts, texts and mask pairs of a pass are filled up to sizes from a short list.

Kernels that are compiled for a shape can then be used again. What is filled in is computed for nothing and cut off
before anybody sees it: its gradient is zero, and no loss, count or metric knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medshards.train.objective.losses import MapLosses

SIZES = (4, 8, 16, 32)
"""Where the model is compiled and the configuration names none."""


def filled(count: int, sizes: Sequence[int]) -> int:
    """The size that ``count`` is filled up to: the smallest of ``sizes`` (ascending) that holds it, beyond the last
    a multiple of the last. 0, and every count without sizes, stays as it is.
    """
    if not count or not sizes:
        return count
    return next((size for size in sizes if count <= size), -(-count // sizes[-1]) * sizes[-1])


def fill(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """``tensor`` (N, ...) with its first row repeated at the end, up to `filled` rows."""
    more = filled(len(tensor), sizes) - len(tensor)
    return torch.cat((tensor, tensor[:1].expand(more, *tensor.shape[1:]))) if more else tensor


def fill_inputs(inputs: Mapping[str, Tensor], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The arguments of `Sam3Graph.forward` with the first prompt and the first text repeated.

    The prompts of the batch come first in what the graph then returns; `Outputs.first` cuts the others off.
    """
    rows = ("img_id", "text_id", "input_ids", "attention_mask")
    return {name: fill(value, sizes) if name in rows else value for name, value in inputs.items()}


def filling(map_losses: MapLosses, sizes: Sequence[int]) -> MapLosses:
    """``map_losses`` (see train/objective/losses.py) that only ever meets `filled` numbers of maps."""

    def losses_of(logits: Tensor, targets: Tensor, alpha: float, points: bool) -> tuple[Tensor, Tensor]:
        focal, dice = map_losses(fill(logits, sizes), fill(targets, sizes), alpha, points)
        return focal[: len(logits)], dice[: len(logits)]

    return losses_of
