"""How much memory an update takes on a card, from one on a card that is not there (train/memory/simulate.py).

One pass of the run's own `Learner` is made: forward pass, objective, backward pass, clipping. What AdamW keeps comes on
top; its fused kernel takes nothing more. Compiled blocks keep less than what is counted here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from transformers.initialization import no_init_weights

from medshards.train.data.batch import Batch, Prompt
from medshards.train.memory.simulate import DEVICE, simulated
from medshards.train.model.graph import Sam3Graph, set_drop_path
from medshards.train.model.lora import add_lora
from medshards.train.model.weights import architecture
from medshards.train.objective.objective import Norms
from medshards.train.run.config import Config
from medshards.train.run.optim import clip_gradients
from medshards.train.run.parallel import World, shared_layers
from medshards.train.run.step import Learner
from medshards.train.speed.padding import SIZES
from medshards.train.speed.regions import compiles

FLOAT = 4  # bytes
MOMENTS = 2 * FLOAT  # of AdamW, a trained parameter


class Load(NamedTuple):
    """What is in a pass: images, prompts of each, instances of each prompt."""

    images: int
    prompts: int
    instances: int = 1


@dataclass(frozen=True)
class Estimate:
    """Bytes of one rank when it takes most, and numbers of parameters.

    weights, moments: of the model and of AdamW. rest: all else at that moment, most of it what the backward pass needs.
    """

    weights: int
    moments: int
    rest: int
    parameters: int
    trained: int

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.moments + self.rest


def fullest(config: Config, images: int) -> Load:
    """The largest load that a pass of so many images can have: as many prompts as the configuration allows, and mask
    losses that fill a group (``objective.mask_chunk``; further groups are computed again, not kept).
    """
    prompts = config.data.max_prompts_per_image
    return Load(images, prompts, -(-config.objective.mask_chunk // (images * prompts)))


def estimate(config: Config, load: Load, ranks: int = 1) -> Estimate:
    """The memory of an update of a configuration, in passes of a given load, on each of so many ranks with a GPU.

    Among ranks that share the model (``run.parallel: fsdp``) weights and moments are divided; what is gathered for a
    block and the next, and for all that is in no block, comes on top. Gradients count as if they were not divided.
    """
    graph = graph_of(config)
    with simulated(torch.bfloat16 if config.run.precision == "bf16" else None) as card:
        graph.to_empty(device=DEVICE)
        weights = card.live
        learner = Learner(graph, _alone(config), World(0, 1, DEVICE))
        batch = batch_of(load, graph.image_size)
        asked = len(batch.prompts)  # given, for ranks that are there would add them up
        learner.backward([batch], Norms.of_update(len(batch.boxes), asked, asked, passes=1))
        clip_gradients(graph.parameters(), config.optim.clip_norm)
        rest = card.peak - weights
    trained = sum(each.numel() for each in graph.parameters() if each.requires_grad)
    moments = MOMENTS * trained
    if config.run.parallel == "fsdp":
        layers = [FLOAT * _count([layer]) for layer in shared_layers(graph)]
        rest += weights - sum(layers) + 2 * max(layers) if ranks > 1 else 0
        weights, moments = weights // ranks, moments // ranks
    return Estimate(weights, moments, rest, _count([graph]), trained)


def graph_of(config: Config) -> Sam3Graph:
    """The model of a configuration without its numbers. Weights that lie in no folder here are taken to have the
    architecture of ``model.preset``. Raises WeightsError.
    """
    options = config.model
    folder = Path(options.weights) if options.weights and Path(options.weights).is_dir() else None
    form = architecture(folder, options.preset, options.image_size, options.regularisation)
    with torch.device(DEVICE), no_init_weights():
        graph: Sam3Graph = Sam3Graph(form).train()
    if options.lora is not None:
        add_lora(graph, options.lora)
    set_drop_path(graph, options.regularisation.drop_path)
    graph.checkpoint_activations(options.checkpoint_activations or "all")
    return graph


def batch_of(load: Load, side: int) -> Batch:
    """A batch of a load for a network input of ``side`` px; all prompts have texts of their own."""
    prompts = load.images * load.prompts
    instances = prompts * load.instances
    return Batch(
        images=torch.zeros(load.images, 3, side, side, dtype=torch.uint8),
        img_id=torch.arange(load.images).repeat_interleave(load.prompts),
        input_ids=torch.zeros(prompts, 32, dtype=torch.int64),
        attention_mask=torch.ones(prompts, 32, dtype=torch.bool),
        text_id=torch.arange(prompts),
        boxes=torch.full((instances, 4), 0.5),
        masks=torch.zeros(instances, side, -(-side // 8), dtype=torch.uint8),
        prompts=(Prompt("", "", load.instances),) * prompts,
        names=("",) * load.images,
        dropped={},
        bad=(),
        void=(False,) * load.images,
    )


def _alone(config: Config) -> Config:
    """The same on one rank and not compiled, with prompts filled up as they would be on a GPU."""
    sizes = SIZES if compiles(config.model, "cuda", config.run.parallel) else ()
    parts = {
        "model": config.model.model_copy(update={"compile": "off"}),
        "batch": config.batch.model_copy(
            update={"sizes": sizes if config.batch.sizes is None else config.batch.sizes}
        ),
        "run": config.run.model_copy(update={"parallel": "ddp"}),
    }
    return config.model_copy(update=parts)


def _count(modules: Iterable[nn.Module]) -> int:
    return sum(each.numel() for module in modules for each in module.parameters())
