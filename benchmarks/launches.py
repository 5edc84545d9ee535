"""Kernel launches of an update of the full model, counted without a GPU.

    python -m benchmarks.launches            # a table of the variants; --images 2 --prompts 1

What is counted is a property of the graph, not of a device: every call of an operator that computes something (no
views, no allocations), of the forward pass, the backward pass, the objective and the clipping, in bf16 autocast. The
model has the depth of sam3 (32 + 24 + 3 + 6 + 6 layers, 200 queries) and narrow layers, so that a CPU can run it. In
compiled regions what counts is what inductor schedules for a CPU after fusing: a kernel for each group of fused
operations, one for each product, convolution or attention; for a GPU it may fuse otherwise. A region that is replayed
as a CUDA graph counts two: a kernel copies its inputs to where the graph expects them, and the graph is launched.
AdamW and everything else that takes many tensors is one call a group of them, whatever their number. The regions take
minutes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from functorch.compile import make_boxed_func
from rich.console import Console
from rich.table import Table
from torch._inductor import config as inductor
from torch._inductor.compile_fx import compile_fx, compile_fx_inner
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.utils import logging

from medshards.train.model.graph import Sam3Graph
from medshards.train.model.outputs import Targets
from medshards.train.model.weights import preset_config
from medshards.train.objective.losses import map_losses
from medshards.train.objective.objective import objective
from medshards.train.run.optim import OptimConfig, clip_gradients, parameter_groups
from medshards.train.speed import regions
from medshards.train.speed.casting import LowWeights

ALLOCATE = ("empty", "lift_fresh", "detach", "_unsafe_view", "_local_scalar_dense", "resize_", "set_")


class Launches(TorchDispatchMode):
    """Counts what is launched inside, by operator."""

    def __init__(self, replayed: bool = False) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.silent = False
        self.replayed = replayed

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Compiled code stays compiled inside."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if not self.silent and not func.is_view and not name.startswith(ALLOCATE):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))

    def add(self, kernels: int, run: Callable[..., Any], args: Any) -> Any:
        """Run a compiled graph of so many kernels."""
        self.found["compiled"] += 2 if self.replayed else kernels
        self.silent = True
        try:
            return run(args)
        finally:
            self.silent = False


class Scheduled(Exception):
    """Inductor has scheduled a graph; nothing more is needed."""


@contextmanager
def scheduling(counts: list[int]) -> Iterator[None]:
    """Inside, inductor stops when it has fused, and the number of kernels is added to ``counts``."""

    def stop(nodes: list[Any]) -> Any:
        counts.append(sum(not node.is_template() and not _is_nothing(node) for node in nodes))
        raise Scheduled

    with inductor.patch(_post_fusion_custom_pass=stop, force_disable_caches=True):
        yield


def _is_nothing(node: Any) -> bool:
    """Whether a scheduled node launches nothing: outputs of an operator with several, views, constants."""
    from torch._inductor import ir
    from torch._inductor.scheduler import NopKernelSchedulerNode

    view = isinstance(node.node, ir.MultiOutput | ir.ReinterpretView) if node.node is not None else False
    return view or isinstance(node, NopKernelSchedulerNode)


def counting_backend(launches: list[Launches]) -> Callable[..., Any]:
    """A backend that runs the graph as it is and counts what inductor would launch, in the last of ``launches``."""

    def inner(graph: Any, examples: Any, **options: Any) -> Any:
        counts: list[int] = []
        try:
            with scheduling(counts):
                compile_fx_inner(graph, examples, **options)
        except Exception:
            if not counts:
                raise
        run = make_boxed_func(graph.forward)

        def call(args: Any) -> Any:
            return launches[-1].add(counts[0], run, args)

        call._boxed_call = True  # type: ignore[attr-defined]
        return call

    return lambda graph, examples: compile_fx(graph, examples, inner_compile=inner)


def narrow() -> Any:
    """The depth of sam3 in narrow layers at 112 px."""
    config: Any = preset_config("sam3")
    small: Any = preset_config("tiny")
    for name in ("vision_config", "text_config", "geometry_encoder_config", "detr_encoder_config",
                 "detr_decoder_config", "mask_decoder_config"):  # fmt: skip
        wide, own = getattr(config, name), getattr(small, name)
        for depth in ("num_hidden_layers", "num_layers", "num_queries"):
            if hasattr(own, depth):
                setattr(own, depth, getattr(wide, depth))
    backbone = small.vision_config.backbone_config
    backbone.num_hidden_layers = config.vision_config.backbone_config.num_hidden_layers
    backbone.global_attn_indexes = config.vision_config.backbone_config.global_attn_indexes
    return small


def update(graph: Sam3Graph, images: int, prompts: int, of_maps: Any, low: LowWeights | None) -> None:
    """Forward and backward pass and objective of one update; each prompt has one instance."""
    count = images * prompts
    which = torch.arange(images).repeat_interleave(prompts)
    ids = torch.zeros(prompts, 32, dtype=torch.int64)
    text = torch.arange(prompts).repeat(images)
    side = graph.image_size
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    masks[:, 10:60, 20:70] = True
    targets = Targets(
        torch.tensor([[0.4, 0.3, 0.4, 0.4]]).repeat(count, 1), torch.ones(count, dtype=torch.int64), masks
    )
    with nullcontext() if low is None else low.used():
        with torch.autocast("cpu", torch.bfloat16):
            outputs = graph(torch.randn(images, 3, side, side), which, ids, torch.ones_like(ids), text)
        loss, _ = objective(outputs, targets, of_maps=of_maps)
        loss.backward()
    clip_gradients(graph.parameters(), 0.1)


def count(variant: str, images: int, prompts: int) -> Counter[str]:
    """Launches of an update, by operator. variant: words of cast, regions and graphs, joined by a plus."""
    words = variant.split("+")
    torch.manual_seed(0)
    torch._dynamo.reset()
    graph = Sam3Graph(narrow()).train()
    launches: list[Launches] = []
    of_maps: Any = map_losses
    if "regions" in words:
        regions.BACKEND = counting_backend(launches)  # type: ignore[assignment]
        of_maps = regions.compile_regions(graph)
    low = LowWeights(graph, torch.bfloat16) if "cast" in words else None
    for _ in range(2 if "regions" in words else 1):  # the first time compiles
        graph.zero_grad()
        launches.append(Launches("graphs" in words))
        with launches[-1]:
            update(graph, images, prompts, of_maps, low)
    found = launches[-1].found
    groups = len(parameter_groups(graph, OptimConfig(layer_decay="paper12")))
    found["AdamW, fused"] += 2 * groups
    return found


VARIANTS = {
    "autocast, as it was": "eager",
    "weights cast once": "cast",
    "regions": "regions",
    "regions, weights cast once": "cast+regions",
    "graphs, weights cast once": "cast+regions+graphs",
}


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=1, help="of each image")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    options = parser.parse_args()
    logging.set_verbosity_error()
    table = Table(title=f"launches of an update, {options.images} images, {options.prompts} prompts each")
    for title in ("variant", "launches", "the most frequent"):
        table.add_column(title)
    for name in options.variants:
        found = count(VARIANTS[name], options.images, options.prompts)
        most = ", ".join(f"{each} {n}" for each, n in found.most_common(8))
        table.add_row(name, str(found.total()), most)
    Console().print(table)


if __name__ == "__main__":
    main()
