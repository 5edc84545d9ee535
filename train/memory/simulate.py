"""A card that is not there: what is put on it has shapes and types, and takes memory, but has no content.

It is torch's device ``meta``. The training step runs on it as it is, forward and backward pass, objective and
recomputed blocks, in seconds and on any machine, and `SimulatedCard` adds up what it holds. Where torch computes on
``meta`` otherwise than on a GPU, and memory depends on it, `OnGpu` does as on a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

DEVICE = torch.device("meta")
ROUNDED = 512  # bytes; torch's allocator on a GPU gives multiples of it
LOW = {F.linear, torch.conv2d, F.conv2d, F.conv_transpose2d, torch.conv_transpose2d, torch.matmul, Tensor.matmul,
       Tensor.__matmul__, torch.bmm, torch.einsum, F.scaled_dot_product_attention}  # fmt: skip
"""What autocast computes in low precision on a GPU."""
HIGH = {F.layer_norm, F.group_norm, F.softmax, F.softplus, F.cosine_similarity, torch.pow, torch.log, torch.log2,
        torch.exp, torch.norm, torch.cumsum, torch.sum, torch.prod, Tensor.softmax, Tensor.pow, Tensor.log, Tensor.exp,
        Tensor.sum, Tensor.prod, Tensor.cumsum, Tensor.norm}  # fmt: skip
"""What it computes in float32."""
AUTOCAST = LOW | HIGH


class SimulatedCard(TorchDispatchMode):
    """Adds up the memory of tensors on the device and the work on them.

    live, peak: bytes that they take now, and took at most. flops: of matrix products and convolutions, as torch counts.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = self.flops = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("device") == torch.device("cpu") and any(each.is_meta for each in _tensors(args)):
            return _made_up(args[0])
        out = func(*args, **kwargs)
        if count := flop_registry.get(func.overloadpacket):
            self.flops += count(*args, **kwargs, out_val=out)
        for each in _tensors(out):
            if each.is_meta:
                self._take(each.untyped_storage())
        return out

    def _take(self, storage: torch.UntypedStorage) -> None:
        """Count a storage from now until nobody has it any more."""
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = -(-storage.nbytes() // ROUNDED) * ROUNDED
            self.live += self._sizes[key]
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._give, key)

    def _give(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


class OnGpu(TorchFunctionMode):
    """Attention by a fused kernel, and the types of autocast, which does not know the device ``meta``.

    fused: without, attention is written out, so that its products can be counted.
    low: the precision of autocast, None without; it holds in all of a step but where `torch.autocast` is switched off,
    so in blocks that the backward pass computes again, too.
    """

    def __init__(self, low: torch.dtype | None, fused: bool) -> None:
        super().__init__()
        self.low, self.fused, self.on = low, fused, True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (
            func is Tensor.backward
        ):  # blocks that are computed again have to find this mode, which rests in here
            with self:
                return _engine_run_backward(args, (torch.ones_like(args[0]),), False, False, (), True, True)
        if self.low is not None and self.on and func in AUTOCAST:
            wanted = self.low if func in LOW else torch.float32
            args, kwargs = tree_map_only(Tensor, lambda each: _cast(each, wanted), (args, kwargs))
        if func is F.scaled_dot_product_attention and self.fused:
            return attention(*args, **kwargs)
        return func(*args, **kwargs)

    @contextmanager
    def autocast(self, device: str, dtype: Any = None, enabled: bool = True) -> Iterator[None]:
        """In place of `torch.autocast`."""
        before, self.on = self.on, enabled
        yield
        self.on = before


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *rest: Any, **more: Any
) -> Tensor:
    """Attention as a GPU takes memory for it. No fused kernel takes a mask whose last dimension is not contiguous."""
    if attn_mask is not None and attn_mask.stride(-1) != 1:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **more)
    apply: Callable[..., Tensor] = _Fused.apply
    return apply(query, key, value, attn_mask)


class _Fused(torch.autograd.Function):
    """Keeps inputs, output and the logarithm of the sums, (batch, heads, queries) float32."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        out = torch.empty_like(query)
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, mask, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors[:4]
        wanted = zip(inputs, ctx.needs_input_grad, strict=True)
        return tuple(torch.empty_like(each) if needed else None for each, needed in wanted)


@contextmanager
def simulated(low: torch.dtype | None, fused: bool = True) -> Iterator[SimulatedCard]:
    """A simulated card on which forward passes have the precision ``low`` under autocast (None: float32), and attention
    is a fused kernel.
    """
    as_there = OnGpu(low, fused)
    with mock.patch("torch.autocast", as_there.autocast), SimulatedCard() as card, as_there:
        yield card


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (each for each in tree_leaves(tree) if isinstance(each, Tensor))


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_meta and tensor.is_floating_point() else tensor


def _made_up(asked: Tensor) -> Tensor:
    """Ascending numbers from 0 to 1 in place of a table that the host asks for: the matcher finds as many pairs in
    them as there can be.
    """
    return torch.linspace(0, 1, asked.numel()).view(asked.shape).to(asked.dtype)
