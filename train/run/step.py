"""One update: forward and backward passes over the chunks of a batch, then a step of the optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medshards.train.data.batch import Batch
from medshards.train.data.keyed_random import keyed
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.weights import build_model
from medshards.train.objective.objective import Norms, objective
from medshards.train.run.config import Config
from medshards.train.run.optim import build_optimizer, clip_gradients, set_rates
from medshards.train.run.parallel import World, accumulating, whole, wrap


def build_graph(config: Config) -> Sam3Graph:
    """The model of a configuration, on the CPU; the same on every rank."""
    options = config.model
    graph = build_model(
        options.weights,
        options.preset,
        image_size=options.image_size,
        regularisation=options.regularisation,
        seed=config.run.seed,
    )
    graph.checkpoint_activations(options.checkpoint_activations)
    return graph


class Learner:
    """A model with its optimiser, on this rank of a run.

    Learning rates and random numbers are functions of the step: nothing else has to be kept to go on.
    """

    def __init__(self, graph: Sam3Graph, config: Config, ranks: World) -> None:
        self.graph, self.config, self.ranks = graph, config, ranks
        self.model = wrap(graph, config.run.parallel, ranks)
        if config.model.compile:
            graph.vision_encoder.compile()
        self.optimizer = build_optimizer(graph, config.optim)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def update(
        self, chunks: Sequence[Batch], norms: Norms | None, step: int, total: int
    ) -> tuple[dict[str, Tensor], float]:
        """Make update ``step`` (from 0) of ``total``.

        Returns the mean over this rank's chunks of the loss and its terms, on the device, and the global norm
        of the gradient before clipping. Raises FloatingPointError when something is not finite.
        """
        # torch's generators take a signed 64-bit seed.
        torch.manual_seed(int(keyed(self.config.run.seed, step, self.ranks.rank)) >> 1)
        set_rates(self.optimizer, self._rates, self.config.schedule, step, total)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.backward(chunks, norms)
        norm = clip_gradients(self.graph.parameters(), self.config.optim.clip_norm)
        self.optimizer.step()
        return terms, float(whole(norm))

    def backward(self, chunks: Sequence[Batch], norms: Norms | None) -> dict[str, Tensor]:
        """Add the gradients of all chunks, averaged over chunks and ranks; returns loss and terms."""
        device, sums = self.ranks.device, dict[str, Tensor]()
        for number, chunk in enumerate(chunks, start=1):
            with accumulating(self.model, last=number == len(chunks)):
                with torch.autocast(device.type, torch.bfloat16, self.config.run.precision == "bf16"):
                    outputs = self.model(**chunk.inputs(device))
                loss, terms = objective(outputs, chunk.targets(device), self.config.objective, norms)
                (loss / len(chunks)).backward()
            for name, value in {"loss": loss, **terms}.items():
                share = value.detach().to(device) / len(chunks)
                sums[name] = sums[name] + share if name in sums else share
        return sums
