"""The optimiser: which parameter learns how fast, which decays, the schedule, the clipping.

Rates and schedule follow Medical SAM3 (arXiv 2601.10880, section 4); what it leaves open (weight decay,
exclusions, clipping) follows the official SAM3 training code. Parameter names are those of ``Sam3Model`` in
`transformers`, with or without a prefix that a wrapper adds.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator
from torch import Tensor, nn

from medshards.train.section import Section

Beta = Annotated[float, Field(ge=0, lt=1)]


class Rates(Section):
    """Base learning rate of each part of the model."""

    decoder: NonNegativeFloat = 3e-4
    """Detection decoder, mask decoder and scoring head."""
    encoder: NonNegativeFloat = 3e-4
    """Fusion encoder; the paper does not name it, the official code puts it with the decoder."""
    vision: NonNegativeFloat = 5e-5
    """Image encoder."""
    text: NonNegativeFloat = 5e-5
    """Text encoder."""
    geometry: NonNegativeFloat = 1e-4
    """Geometry encoder."""


class OptimConfig(Section):
    """AdamW, its parameter groups and the clipping of gradients."""

    lr: Rates = Rates()
    """One number stands for the same rate everywhere."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """How fast the running means of the gradient and of its square forget."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second mean."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled; of the matrices alone."""
    no_decay_embeddings: bool = False
    """Exclude token, position and query embeddings from weight decay; biases and layer norms always are."""
    layer_decay: Literal["paper12", "vit32", "off"] = "paper12"
    """How the vision backbone's rate falls towards its input; see `layer_multiplier`."""
    layer_decay_rate: float = Field(default=0.85, gt=0, le=1)
    """Factor from a layer to the one before it."""
    clip_norm: float = Field(default=0.1, gt=0)
    """Largest global L2 norm of the gradient."""

    @field_validator("lr", mode="before")
    @classmethod
    def _one_rate(cls, value: Any) -> Any:
        return dict.fromkeys(Rates.model_fields, value) if isinstance(value, int | float) else value


class ScheduleConfig(Section):
    """Linear warm-up, then decay with the inverse square root of the number of updates."""

    warmup: int | None = Field(default=None, ge=0)
    """Updates of warm-up; None takes 5 % of the run, at most 1000."""
    timescale: int = Field(default=1000, gt=0)
    """The rate has fallen to 1/sqrt(2) this many updates after the warm-up."""
    cooldown: int = Field(default=0, ge=0)
    """Updates at the end of the run over which the rate falls linearly to 0."""

    def warmup_of(self, total: int) -> int:
        """Updates of warm-up in a run of ``total`` updates."""
        return min(1000, total // 20) if self.warmup is None else self.warmup


PART_OF = {
    "detr_decoder": "decoder",
    "mask_decoder": "decoder",
    "dot_product_scoring": "decoder",
    "detr_encoder": "encoder",
    "vision_encoder": "vision",
    "text_encoder": "text",
    "text_projection": "text",
    "geometry_encoder": "geometry",
}
PAPER_LAYERS = 12  # L of the paper's layer-wise decay, which SAM3's backbone of 32 blocks does not have


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the groups of `parameter_groups`; fused when the parameters lie on a CUDA device."""
    groups = parameter_groups(model, config)
    on_cuda = all(parameter.is_cuda for group in groups for _, parameter in group["params"])
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=on_cuda)


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Parameters that require gradients, grouped by learning rate and weight decay.

    Each group has ``params`` (names and parameters), ``lr``, ``weight_decay`` and a ``name`` for logs. Groups
    and their parameters keep the order in which the model lists them, so a saved optimiser state fits again.

    Raises ValueError for a parameter of no known part, and when there is nothing to train.
    """
    depth = vision_depth(name for name, _ in model.named_parameters())
    groups: dict[tuple[str, float, float], dict[str, Any]] = {}
    for name, parameter, module in trainable(model):
        local = model_name(name)
        part = PART_OF[local.split(".")[0]]
        multiplier = layer_multiplier(local, depth, config.layer_decay, config.layer_decay_rate)
        lr = getattr(config.lr, part) * multiplier
        decay = config.weight_decay if decays(name, module, config.no_decay_embeddings) else 0.0
        label = part + ("" if multiplier == 1 else f" x{multiplier:.3g}") + ("" if decay else ", no decay")
        group = groups.setdefault(
            (part, lr, decay), {"params": [], "lr": lr, "weight_decay": decay, "name": label}
        )
        group["params"].append((name, parameter))
    if not groups:
        raise ValueError("the model has no parameter that requires a gradient")
    return list(groups.values())


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Name, parameter and owning module of every parameter that requires gradients, each once."""
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield name, parameter, module


def model_name(name: str) -> str:
    """The parameter's name inside ``Sam3Model``, without what wrappers put before it."""
    parts = name.split(".")
    for start, part in enumerate(parts):
        if part in PART_OF:
            return ".".join(parts[start:])
    raise ValueError(
        f"parameter {name!r} belongs to no part with a learning rate; known parts: {', '.join(PART_OF)}. "
        "Freeze it, or add its part to PART_OF in train/run/optim.py."
    )


def decays(name: str, module: nn.Module, no_decay_embeddings: bool = False) -> bool:
    """Whether weight decay applies: not to biases, not to layer norms; to group norms it does."""
    embedding = isinstance(module, nn.Embedding) or name.endswith("position_embeddings")
    if embedding and no_decay_embeddings:
        return False
    return "bias" not in name and not isinstance(module, nn.LayerNorm)


def vision_depth(names: Iterable[str]) -> int:
    """Number of blocks of the vision backbone, from parameter names; 0 where there is none."""
    return 1 + max((block for name in names if (block := _vision_block(name)) is not None), default=-1)


def layer_multiplier(name: str, depth: int, preset: str, rate: float) -> float:
    """Factor on the learning rate of one parameter of a vision backbone with ``depth`` blocks; 1 elsewhere.

    The paper writes rate^(L - l) with L = 12 for layer l, which can be read in two ways:

    - ``paper12`` spreads 12 steps over the blocks: block i (from 0) is layer ceil(12 (i + 1) / depth), the
      embeddings and the norm before the blocks are layer 0.
    - ``vit32``, as the official code's own layer decay: every block is a layer, so block i has
      rate^(depth - i), patch embedding and first norm rate^(depth + 1); the position embedding is exempt.
    - ``off`` leaves the whole backbone at its base rate.
    """
    marker = "vision_encoder.backbone."
    if preset == "off" or marker not in name:
        return 1.0
    block = _vision_block(name)
    if preset == "paper12":
        layer = 0 if block is None else math.ceil(PAPER_LAYERS * (block + 1) / depth)
        return rate ** (PAPER_LAYERS - layer)
    if name.endswith("position_embeddings"):
        return 1.0
    return rate ** (depth + 1 - (0 if block is None else block + 1))


def _vision_block(name: str) -> int | None:
    _, marker, rest = name.partition("vision_encoder.backbone.layers.")
    return int(rest.split(".")[0]) if marker else None


def lr_factor(step: int, total: int, warmup: int, timescale: int, cooldown: int = 0) -> float:
    """Factor on the base learning rate at update ``step`` (from 0) of ``total``.

    The first update has rate 0 when there is a warm-up.
    """
    factor = min(1.0, step / warmup) if warmup else 1.0
    if step > warmup:
        factor /= math.sqrt((step - warmup + timescale) / timescale)
    if cooldown and step:
        factor *= max(0.0, min(1.0, (total - step) / cooldown))
    return factor


def set_rates(
    optimizer: torch.optim.Optimizer, rates: Sequence[float], config: ScheduleConfig, step: int, total: int
) -> None:
    """Give every group the learning rate of update ``step`` (from 0) of ``total``; ``rates`` are their base rates."""
    factor = lr_factor(step, total, config.warmup_of(total), config.timescale, config.cooldown)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients so that their global L2 norm is at most ``max_norm``; returns the norm before, on the device.

    Call it after the gradients have been averaged over ranks.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm)


def refuse_non_finite(norm: float, step: int) -> None:
    """Raise FloatingPointError when the norm of the gradient of update ``step`` is NaN or infinite."""
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"the gradient of update {step} is not finite (norm {norm}), so it is no update"
        )
