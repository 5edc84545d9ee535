"""Reads the reference cases of the objective and makes small random ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medshards.train.model.outputs import Outputs, Targets
from medshards.train.run.checkpoint import digest_of

OUTPUT_NAMES = ("logits", "boxes", "presence", "logits_o2m", "boxes_o2m", "masks", "masks_o2m", "semantic")


def load(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def outputs_of(case: dict[str, torch.Tensor]) -> Outputs:
    """The outputs of a reference case as leaves that require gradients."""
    return Outputs(**{name: case[name].clone().requires_grad_() for name in OUTPUT_NAMES if name in case})


def targets_of(case: dict[str, torch.Tensor], mask_size: int | None = None) -> Targets:
    """The targets of a reference case; ``mask_size`` is the side of its square masks."""
    masks = None
    if "tgt_masks_packed" in case and mask_size:
        bits = np.unpackbits(case["tgt_masks_packed"].numpy(), axis=1)[:, : mask_size**2]
        masks = torch.from_numpy(bits.reshape(-1, mask_size, mask_size).astype(bool))
    return Targets(case["tgt_boxes"], case["num_boxes"], masks, case.get("is_valid_mask"))


def rewrite_state(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a checkpoint says of itself, as if it had been saved so."""
    content = json.loads((folder / "state.json").read_text())
    change(content)
    del content["digest"]
    (folder / "state.json").write_text(json.dumps({**content, "digest": digest_of(content)}))


def triples(*columns: Any) -> set[tuple[int, ...]]:
    return {tuple(int(value) for value in row) for row in zip(*columns)}


def random_boxes(generator: torch.Generator, *shape: int) -> torch.Tensor:
    size = 0.05 + 0.3 * torch.rand(*shape, 2, generator=generator)
    centre = size / 2 + (1 - size) * torch.rand(*shape, 2, generator=generator)
    return torch.cat((centre, size), dim=-1)


def random_case(
    seed: int,
    num_boxes: list[int],
    queries: int = 12,
    layers: int = 3,
    map_side: int = 6,
    mask_side: int = 20,
) -> tuple[Outputs, Targets]:
    """Random outputs (leaves) and targets whose masks fill their boxes."""
    g = torch.Generator().manual_seed(seed)
    prompts, total = len(num_boxes), sum(num_boxes)
    boxes = random_boxes(g, total)
    grid = (torch.arange(mask_side) + 0.5) / mask_side
    inside = (grid - boxes[:, :2, None]).abs() <= boxes[:, 2:, None] / 2  # (M, 2, side)
    masks = inside[:, 1, :, None] & inside[:, 0, None, :]
    outputs = Outputs(
        logits=torch.randn(layers, prompts, queries, generator=g),
        boxes=random_boxes(g, layers, prompts, queries),
        presence=torch.randn(layers, prompts, generator=g),
        logits_o2m=torch.randn(layers, prompts, queries, generator=g),
        boxes_o2m=random_boxes(g, layers, prompts, queries),
        masks=torch.randn(prompts, queries, map_side, map_side, generator=g),
        masks_o2m=torch.randn(prompts, queries, map_side, map_side, generator=g),
        semantic=torch.randn(prompts, map_side, map_side, generator=g),
    )
    for tensor in outputs.tensors():
        tensor.requires_grad_()
    return outputs, Targets(boxes, torch.tensor(num_boxes), masks)
