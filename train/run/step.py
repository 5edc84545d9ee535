"""One update: forward and backward passes over the chunks of a batch, then a step of the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from medshards.train.data.batch import Batch
from medshards.train.data.keyed_random import keyed
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.lora import add_lora
from medshards.train.model.weights import build_model
from medshards.train.objective.losses import map_losses
from medshards.train.objective.objective import Norms, objective
from medshards.train.run.config import Config
from medshards.train.run.optim import build_optimizer, clip_gradients, refuse_non_finite, set_rates
from medshards.train.run.parallel import World, accumulating, whole, wrap
from medshards.train.speed.casting import LowWeights
from medshards.train.speed.padding import SIZES, fill_inputs, filling
from medshards.train.speed.regions import compile_regions, compiles, replays, start_update


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
    if options.lora is not None:
        add_lora(graph, options.lora, config.run.seed)
    graph.checkpoint_activations(options.checkpoint_activations or "all")
    return graph


class Learner:
    """A model with its optimiser, on this rank of a run.

    Learning rates and random numbers are functions of the step: nothing else has to be kept to go on.
    """

    def __init__(self, graph: Sam3Graph, config: Config, ranks: World) -> None:
        self.graph, self.config, self.ranks = graph, config, ranks
        self.model = wrap(graph, config.run.parallel, ranks)
        where = (config.model, ranks.device.type, config.run.parallel)
        compiled, self._replayed = compiles(*where), replays(*where)
        self.sizes = config.batch.sizes if config.batch.sizes is not None else SIZES if compiled else ()
        self._of_maps = filling(
            compile_regions(graph, self._replayed) if compiled else map_losses, self.sizes
        )
        low = config.run.precision == "bf16" and not isinstance(self.model, FSDPModule)
        self._low = LowWeights(graph, torch.bfloat16) if low else None
        self.optimizer = build_optimizer(graph, config.optim)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._step = -1
        self._norm = torch.zeros((), pin_memory=torch.cuda.is_available())

    def update(
        self, chunks: Sequence[Batch], norms: Norms | None, step: int, total: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Make update ``step`` (from 0) of ``total``.

        Returns the mean over this rank's chunks of the loss and its terms, and the global norm of the gradient before
        clipping, on the device. The only thing it waits for is the matcher's table, so the host runs ahead of a GPU,
        and what is not finite is found an update later: ask `settle` before the weights are used for something else.
        Raises FloatingPointError.
        """
        # torch's generators take a signed 64-bit seed.
        torch.manual_seed(int(keyed(self.config.run.seed, step, self.ranks.rank)) >> 1)
        set_rates(self.optimizer, self._rates, self.config.schedule, step, total)
        self.optimizer.zero_grad(set_to_none=True)
        start_update(self._replayed)
        terms = self.backward(chunks, norms)
        self._refuse_non_finite()  # of the update before, whose norm came before the matcher's table
        norm = whole(clip_gradients(self.graph.parameters(), self.config.optim.clip_norm)).detach()
        self.optimizer.step()
        self._step = step
        self._keep(norm)
        return terms, norm

    def _keep(self, norm: Tensor) -> None:
        """Send the norm to the host, which does not wait for it."""
        self._norm.copy_(norm, non_blocking=True)

    def settle(self) -> None:
        """Wait for the last update; raises FloatingPointError when its gradient was not finite."""
        if self.ranks.device.type == "cuda":
            torch.cuda.synchronize(self.ranks.device)
        self._refuse_non_finite()

    def _refuse_non_finite(self) -> None:
        refuse_non_finite(float(self._norm), self._step + 1)

    def backward(self, chunks: Sequence[Batch], norms: Norms | None) -> dict[str, Tensor]:
        """Add the gradients of all chunks, averaged over chunks and ranks; returns loss and terms."""
        device, names, sums = self.ranks.device, list[str](), torch.zeros(())
        for number, chunk in enumerate(chunks, start=1):
            with self._low_precision(), accumulating(self.model, last=number == len(chunks)):
                with torch.autocast(device.type, torch.bfloat16, self.config.run.precision == "bf16"):
                    outputs = self.model(**fill_inputs(chunk.inputs(device), self.sizes))
                targets = chunk.targets(device)
                loss, terms = objective(
                    outputs.first(len(chunk.prompts)), targets, self.config.objective, norms, self._of_maps
                )
                (loss / len(chunks)).backward()
            names = ["loss", *terms]
            values = [value.detach().to(device, non_blocking=True) for value in (loss, *terms.values())]
            share = torch.stack(values) / len(chunks)  # together, for each is a number
            sums = share if number == 1 else sums + share
        return dict(zip(names, sums.unbind(), strict=True))

    def _low_precision(self) -> AbstractContextManager[None]:
        """The context of a forward and a backward pass in which weights have the precision of the run."""
        return nullcontext() if self._low is None else self._low.used()
