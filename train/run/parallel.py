"""The ranks of a run: process group, device, and how the model is divided among them.

A run is always a process group, of one rank where torchrun did not start it, so there is one code path. Small
numbers travel between ranks through gloo on the CPU, gradients through NCCL where there are GPUs.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from medshards.common.machine import MachineError
from medshards.train.model.graph import Sam3Graph

TIMEOUT = timedelta(minutes=30)  # a rank that hears nothing for so long gives up


@dataclass(frozen=True)
class World:
    """This process among all of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True on the one rank that writes logs and publishes checkpoints."""
        return self.rank == 0

    def sum(self, *numbers: float) -> list[float]:
        """Each number added up over all ranks; every rank must call it at the same point.

        Raises MachineError when a rank is gone.
        """
        total = torch.tensor(numbers, dtype=torch.float64)
        try:
            dist.all_reduce(total)
        except RuntimeError as error:
            raise MachineError(
                f"rank {self.rank} of {self.size} lost another one: what ended that one stands in its own log"
            ) from error
        return total.tolist()

    def gather(self, lines: Sequence[str]) -> list[str]:
        """The lines of all ranks, in order of rank; every rank must call it at the same point."""
        mine = "".join(f"{' '.join(line.split())}\n" for line in lines).encode()
        counts = [int(count) for count in self.sum(*(len(mine) * (r == self.rank) for r in range(self.size)))]
        before, after = sum(counts[: self.rank]), sum(counts[self.rank + 1 :])
        if not sum(counts):
            return []
        return bytes(map(int, self.sum(*[0] * before, *mine, *[0] * after))).decode().splitlines()

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(0)


@contextmanager
def world() -> Iterator[World]:
    """The ranks that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), or this process alone.

    Raises MachineError when there are fewer GPUs than ranks, or no NCCL. A block that failed does not wait for the
    other ranks, which may wait for this one.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= gpus:
            raise MachineError(
                f"local rank {local} has no GPU: {gpus} are visible here; start as many ranks as there are GPUs"
            )
        if not dist.is_nccl_available():
            raise MachineError("this build of torch has no NCCL, which GPUs need to work together")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if size > 1:
        dist.init_process_group(backend, timeout=TIMEOUT)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield World(rank, size, device)
    except BaseException:
        if size == 1:
            leave()
        raise
    leave()


def leave(group: dist.ProcessGroup | None = None) -> None:
    """Destroy a process group, all of them where none is given."""
    # Gloo's threads drop the tensors of a finished exchange a moment later and need Python's lock for it;
    # destroying the group holds that lock and waits for them, so they must be done first.
    time.sleep(0.2)
    dist.destroy_process_group(group)


def wrap(model: Sam3Graph, parallel: str, ranks: World) -> nn.Module:
    """The model on its device, ready to train on all ranks; ``ddp`` or ``fsdp``.

    The gradients of all ranks are averaged. Parameters keep their names up to a prefix ``module.``.
    """
    nn.Module.to(model, ranks.device)
    if parallel == "fsdp":
        # The outputs are slices, which the objective never changes in place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
        mesh = init_device_mesh(ranks.device.type, (ranks.size,))
        for layer in shared_layers(model):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model
    if ranks.size == 1:
        return model
    with warnings.catch_warnings():
        # The buffers never change, so no rank has to send them; newer versions of torch rename the argument.
        warnings.filterwarnings("ignore", message="`broadcast_buffers`", category=FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def shared_layers(model: Sam3Graph) -> list[nn.Module]:
    """The layers whose weights FSDP gathers one after the other; all other weights are gathered together."""
    return [
        *model.vision_encoder.backbone.layers,
        *model.text_encoder.text_model.encoder.layers,
        *model.detr_encoder.layers,
    ]


def unwrap(model: nn.Module) -> Sam3Graph:
    """The graph inside what `wrap` made."""
    return model.module if isinstance(model, DistributedDataParallel) else model  # type: ignore[return-value]


def accumulating(model: nn.Module, last: bool) -> Any:
    """Context of a forward and backward pass; gradients are averaged over ranks in the ``last`` of an update."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    elif isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """A tensor that FSDP shares among ranks, as a whole; any other as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
