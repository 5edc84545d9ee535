"""Compilation by regions: each kind of block is compiled once and used by all its copies.

Compiling the whole graph takes many minutes and begins again with every new shape. The regions are the layers of the
image, text, geometry and fusion encoders, the neck, a layer of the decoder with its predictions, the scoring head, the
mask head and the losses of masks; what lies between (gathering, matching, sums) is small and runs as it is.

Compiled code is used in training alone; `as_it_is` is for everything else.

With ``model.graphs`` a region is not launched kernel by kernel but replayed, forward and backward pass each as one CUDA
graph. The graphs are inductor's own (torch._inductor.cudagraph_trees): they share one pool of memory and record each
shape once. What they hand over lives in that pool until the next update starts (`start_update`).
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import torch
from torch._dynamo.utils import counters

from medshards.train.model.decoder import decoder_layer
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.options import ModelConfig
from medshards.train.objective.losses import MapLosses, map_losses

BACKEND = "inductor"
WARM_UP = 20
"""Updates in which new shapes are expected; a compilation after them is told."""


def compiles(options: ModelConfig, device: str, parallel: str) -> bool:
    """Whether a model is to be compiled that trains on a type of device, such as ``cuda``, as ``ddp`` or ``fsdp``.

    By default a model that is shared among ranks is not: that was not tried on GPUs yet.
    """
    default = "regions" if device == "cuda" and parallel == "ddp" else "off"
    return (options.compile or default) == "regions"


def replays(options: ModelConfig, device: str, parallel: str) -> bool:
    """Whether compiled regions are to be replayed as CUDA graphs."""
    return options.graphs and device == "cuda" and compiles(options, device, parallel)


def start_update(replayed: bool) -> None:
    """Tell the graphs, if there are any, that nothing of the update before is looked at any more."""
    if replayed:
        torch.compiler.cudagraph_mark_step_begin()


def compile_regions(graph: Sam3Graph, replayed: bool = False) -> MapLosses:
    """Compile the regions of a graph, in place, to be replayed as CUDA graphs or not; returns the compiled losses of
    masks.

    Nothing is compiled before it is first called. Parameters keep their names.
    """
    # A block of the image encoder comes with and without windows and checkpointing, and each in a few shapes.
    torch._dynamo.config.recompile_limit = 64
    options: dict[str, Any] = {"backend": BACKEND, "dynamic": False}
    if replayed:
        options["options"] = {"triton.cudagraphs": True}
    for module in (
        *graph.vision_encoder.backbone.layers,
        graph.vision_encoder.neck,
        *graph.text_encoder.text_model.encoder.layers,
        *graph.geometry_encoder.layers,
        *graph.detr_encoder.layers,
        graph.dot_product_scoring,
    ):
        # What hooks do, such as those with which ranks share a layer, stays outside.
        module.forward = torch.compile(module.forward, **options)
    for function in (decoder_layer, graph.segment):
        graph.compiled[function] = torch.compile(function, **options)
    compiled: MapLosses = torch.compile(map_losses, **options)
    return compiled


def as_it_is() -> Any:
    """A context in which nothing compiled is used and nothing is compiled."""
    return torch.compiler.set_stance("force_eager")


def problem() -> str | None:
    """Why nothing can be compiled on this machine, None when it can."""
    compiler = os.environ.get(
        "CXX", "clang++" if sys.platform == "darwin" else "g++"
    )  # as torch looks for it
    if shutil.which(compiler):
        return None
    return (
        f"model.compile=regions needs a C++ compiler, and there is no {compiler}: install one (CXX names another), or "
        "--set model.compile=off"
    )


class Compilations:
    """Counts the compilations of this process, and tells of them."""

    def __init__(self) -> None:
        self._known = self._count()
        self.late = 0

    @staticmethod
    def _count() -> int:
        return int(counters["stats"]["unique_graphs"])

    def look(self, step: int, seconds: float) -> str | None:
        """What to tell after the update number ``step`` of this process (from 1), which took ``seconds``."""
        now = self._count()
        new, self._known = now - self._known, now
        if not new:
            return None
        if step <= WARM_UP:
            return f"compiled {new} regions for update {step}, which took {seconds:.0f} s"
        self.late += new
        return (
            f"{new} regions were compiled again in update {step}, which took {seconds:.0f} s ({self.late} so far): a "
            "new number of prompts, texts or mask pairs came; fewer batch.sizes make fewer shapes"
        )
