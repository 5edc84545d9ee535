"""What the training graph hands to the objective, and what the batch hands to it beside that.

Boxes are (cx, cy, w, h) divided by the side of the network input, so in [0, 1]. Symbols of the shapes:
L decoder layers (the last is the final one), B prompts, Q object queries, M target instances of all prompts,
h×w the resolution of the predicted maps, H×W that of the target masks.
"""

from collections.abc import Sequence
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

    def first(self, prompts: int) -> "Outputs":
        """The outputs of the first ``prompts`` prompts alone."""
        if prompts == self.presence.shape[1]:
            return self
        of_pass = {"masks", "masks_o2m", "semantic"}  # the others have the layers before the prompts
        return Outputs(
            **{
                field.name: value[:prompts] if field.name in of_pass else value[:, :prompts]
                for field in fields(self)
                if (value := getattr(self, field.name)) is not None
            }
        )


@dataclass(frozen=True)
class Targets:
    """Target instances of a batch, packed: those of prompt 0, then those of prompt 1, and so on.

    ``num_boxes`` and ``is_valid_mask`` stay on the CPU, because their values decide how many pairs there are
    and reading them from a GPU would make it wait.
    """

    boxes: Tensor  # (M, 4) float32, w and h > 0
    num_boxes: Tensor  # (B,) int64 on the CPU, instances of each prompt; their sum is M
    masks: Tensor | None = None  # (M, H, W) bool or uint8
    is_valid_mask: Tensor | None = None  # (M,) bool on the CPU; None: all masks are valid
    names: Sequence[str] | None = None  # (B,) what to call each prompt in an error: sample key and text

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"target boxes must have shape (M, 4), found {tuple(self.boxes.shape)}")
        if (total := int(self.num_boxes.sum())) != len(self.boxes):
            raise ValueError(f"num_boxes adds up to {total} targets, boxes list {len(self.boxes)}")
        for name, value in (("masks", self.masks), ("is_valid_mask", self.is_valid_mask)):
            if value is not None and len(value) != len(self.boxes):
                raise ValueError(f"{name} lists {len(value)} targets, boxes list {len(self.boxes)}")

    def prompt_of_target(self) -> Tensor:
        """The prompt of each target, (M,) int64 on the CPU."""
        return torch.repeat_interleave(torch.arange(len(self.num_boxes)), self.num_boxes.cpu())

    def prompt_name(self, prompt: int) -> str:
        """What to call prompt number ``prompt`` in a message."""
        return f"prompt {prompt}" + (f" ({self.names[prompt]})" if self.names is not None else "")

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Targets":
        """The same targets with boxes and masks on ``device``; the small counts stay on the CPU."""
        masks = None if self.masks is None else self.masks.to(device, non_blocking=non_blocking)
        return replace(self, boxes=self.boxes.to(device, non_blocking=non_blocking), masks=masks)
