"""What the training graph hands to the objective, and what the batch hands to it beside that.

Boxes are (cx, cy, w, h) divided by the side of the network input, so in [0, 1]. Symbols of the shapes:
L decoder layers (the last is the final one), B prompts, Q object queries, M target instances of all prompts,
h×w the resolution of the predicted maps, H×W that of the target masks.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """Everything one training forward returns; float tensors of any precision.

    ``o2m`` marks the one-to-many query set, which exists in training only; the other is the one-to-one set.
    A field that is None switches the loss terms off that need it.
    """

    logits: Tensor  # (L, B, Q) classification logits, one-to-one
    boxes: Tensor  # (L, B, Q, 4)
    presence: Tensor  # (L, B) logit of "the concept occurs in the image"
    logits_o2m: Tensor | None = None  # (L, B, Q)
    boxes_o2m: Tensor | None = None  # (L, B, Q, 4)
    masks: Tensor | None = None  # (B, Q, h, w) mask logits of the final layer
    masks_o2m: Tensor | None = None  # (B, Q, h, w)
    semantic: Tensor | None = None  # (B, h, w) logits of the union of all instances

    def __post_init__(self) -> None:
        if (self.logits_o2m is None) != (self.boxes_o2m is None):
            raise ValueError("logits_o2m and boxes_o2m go together: give both or neither")

    def tensors(self) -> list[Tensor]:
        """All tensors that are present, in the order of the fields."""
        return [value for field in fields(self) if (value := getattr(self, field.name)) is not None]


@dataclass(frozen=True)
class Targets:
    """Target instances of a batch, packed: those of prompt 0, then those of prompt 1, and so on."""

    boxes: Tensor  # (M, 4) float32, w and h > 0
    num_boxes: Tensor  # (B,) int64, instances of each prompt; their sum is M
    masks: Tensor | None = None  # (M, H, W) bool or uint8
    is_valid_mask: Tensor | None = None  # (M,) bool; None: all masks are valid

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"target boxes must have shape (M, 4), found {tuple(self.boxes.shape)}")
        for name, value in (("masks", self.masks), ("is_valid_mask", self.is_valid_mask)):
            if value is not None and len(value) != len(self.boxes):
                raise ValueError(f"{name} lists {len(value)} targets, boxes list {len(self.boxes)}")

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Targets":
        """The same targets on ``device``."""
        moved = {
            field.name: value.to(device, non_blocking=non_blocking)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **moved)
