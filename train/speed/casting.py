"""Weights in low precision, cast once a pass instead of once a use.

Autocast casts a weight where it meets it: about 1,100 small kernels a pass for the full model, as many for the
gradients, and all of them again in blocks that the backward pass computes anew. Here the weights of a block are cast
together, by one kernel, before the pass, and their gradients come back together, by another. What autocast would have
computed is the same, bit for bit: it takes a weight that has its precision already as it is. Gradients reach the
float32 weights block by block, so that ranks can exchange them while the backward pass goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CAST = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Modules whose parameters autocast casts; norms and embeddings stay float32."""
Place = tuple[nn.Module, str]


class _Cast(torch.autograd.Function):
    """Casts tensors to a type together; their gradients back to float32 together."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *masters: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(together(masters, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        there = [gradient for gradient in gradients if gradient is not None]
        back = iter(together(there, torch.float32))
        return None, *(None if gradient is None else next(back) for gradient in gradients)


def together(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copies of tensors in another type, made by one kernel where the device has one for it."""
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if copies:
        with torch.no_grad():
            torch._foreach_copy_(copies, list(tensors))
    return copies


def blocks(model: nn.Module) -> list[list[Place]]:
    """Where the parameters are that are cast: those of each numbered layer together, those of every other part."""
    found: dict[str, list[Place]] = {}
    for name, module in model.named_modules():
        if isinstance(module, CAST):
            parts = name.split(".")
            numbered = next((place for place, part in enumerate(parts) if part.isdigit()), 0)
            places = [(module, own) for own, value in module._parameters.items() if value is not None]
            found.setdefault(".".join(parts[: numbered + 1]), []).extend(places)
    return list(found.values())


@contextmanager
def weights_cast(parts: Sequence[Sequence[Place]], dtype: torch.dtype) -> Iterator[None]:
    """Inside, forward and backward passes use weights of the given type, made at the start; their gradients go to
    the float32 parameters. Leave it after the backward pass, for checkpointed blocks look for the weights again.

    Not for a model that FSDP shares among ranks: it casts by its own policy.
    """
    cast: Callable[..., tuple[Tensor, ...]] = _Cast.apply
    swapped: list[tuple[nn.Module, str, nn.Parameter]] = []
    try:
        for places in parts:
            masters = [(module, name, module.get_parameter(name)) for module, name in places]
            for trained in (True, False):
                chosen = [each for each in masters if each[2].requires_grad is trained]
                weights = [weight for _, _, weight in chosen]
                casts = cast(dtype, *weights) if trained and weights else together(weights, dtype)
                for (module, name, weight), low in zip(chosen, casts, strict=True):
                    swapped.append((module, name, weight))
                    module._parameters[name] = low  # type: ignore[assignment]
        yield
    finally:
        for module, name, weight in swapped:
            module._parameters[name] = weight
