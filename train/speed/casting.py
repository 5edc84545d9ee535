"""Weights in low precision, cast once a pass instead of once a use.

Autocast casts a weight where it meets it: about 1,100 small kernels a pass for the full model, as many for the
gradients, and all of them again in blocks that the backward pass computes anew. Here the weights of a block are cast
together, by one kernel, before the pass, and their gradients come back together, by another. What autocast would have
computed is the same, bit for bit: it takes a weight that has its precision already as it is. Gradients reach the
float32 weights block by block, so that ranks can exchange them while the backward pass goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CAST = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Modules whose parameters autocast casts; norms and embeddings stay float32."""
Place = tuple[nn.Module, str]


class _Cast(torch.autograd.Function):
    """Casts float32 tensors into copies that are there already, together; their gradients back together."""

    @staticmethod
    def forward(ctx: Any, copies: list[Tensor], *masters: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        torch._foreach_copy_(copies, list(masters))
        return tuple(copy.detach() for copy in copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        there = [gradient for gradient in gradients if gradient is not None]
        wide = [torch.empty_like(gradient, dtype=torch.float32) for gradient in there]
        if there:
            torch._foreach_copy_(wide, there)
        back = iter(wide)
        return None, *(None if gradient is None else next(back) for gradient in gradients)


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


class LowWeights:
    """The weights of a model in low precision, at the same addresses in every pass, as CUDA graphs ask for.

    Not for a model that FSDP shares among ranks: it casts by its own policy.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self._groups: list[tuple[list[Place], list[Tensor]]] = []
        for places in blocks(model):
            for trained in (True, False):
                chosen = [each for each in places if each[0].get_parameter(each[1]).requires_grad is trained]
                weights = [module.get_parameter(name) for module, name in chosen]
                if weights:
                    self._groups.append((chosen, [torch.empty_like(each, dtype=dtype) for each in weights]))

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside, forward and backward passes use the weights as they are at the start, in low precision; gradients
        go to the float32 parameters.

        Leave it after the backward pass, for checkpointed blocks look for the weights again.
        """
        cast: Callable[..., tuple[Tensor, ...]] = _Cast.apply
        swapped: list[tuple[nn.Module, str, nn.Parameter]] = []
        try:
            for places, copies in self._groups:
                weights = [module.get_parameter(name) for module, name in places]
                for (module, name), weight, low in zip(places, weights, cast(copies, *weights), strict=True):
                    swapped.append((module, name, weight))
                    module._parameters[name] = low  # type: ignore[assignment]
            yield
        finally:
            for module, name, weight in swapped:
                module._parameters[name] = weight
