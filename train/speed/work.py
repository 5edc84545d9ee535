"""How much of a card's speed a run uses: the floating-point work of its passes beside what the card could do.

MFU, model FLOPs utilisation (Chowdhery et al. 2022, "PaLM", appendix B): matrix products, convolutions and attention of
the forward and backward pass, over the time they took, over the dense bf16 peak of the card. What is computed again,
the objective and the optimiser count as nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from medshards.train.data.batch import Batch
from medshards.train.memory.estimate import Load, batch_of, graph_of
from medshards.train.memory.simulate import DEVICE, simulated
from medshards.train.model.graph import Sam3Graph
from medshards.train.run.config import Config

PEAKS = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s by NVIDIA's data sheets; the first name that occurs in a card's name counts."""


def peak_of(device: torch.device, precision: str) -> float | None:
    """FLOP/s of a device at most; None where it is not known."""
    if device.type != "cuda" or precision != "bf16":
        return None
    card = torch.cuda.get_device_name(device)
    return next((flops for name, flops in PEAKS.items() if name in card), None)


@dataclass(frozen=True)
class Work:
    """FLOPs of a forward and backward pass for each image, each text and each prompt in it."""

    image: float
    text: float
    prompt: float

    def of(self, batch: Batch) -> float:
        """FLOPs of a batch, without what it is filled up with."""
        return (
            self.image * len(batch.images)
            + self.text * len(batch.input_ids)
            + self.prompt * len(batch.prompts)
        )


def work_of(config: Config, one_to_many: bool = True) -> Work:
    """Count the work of a model by three passes on no device, which take seconds; as in training with the one-to-many
    queries or without.
    """
    graph = graph_of(config).train(one_to_many)
    graph.checkpoint_activations("off")
    one, asked, both = (_flops(graph, prompts, texts) for prompts, texts in ((1, 1), (2, 1), (2, 2)))
    return Work(image=one - (asked - one) - (both - asked), text=both - asked, prompt=asked - one)


def _flops(graph: Sam3Graph, prompts: int, texts: int) -> int:
    """FLOPs of a pass of one image."""
    batch = batch_of(Load(1, prompts), graph.image_size)
    batch = replace(batch, input_ids=batch.input_ids[:texts], attention_mask=batch.attention_mask[:texts])
    with simulated(None, fused=False) as card:
        outputs = graph(**replace(batch, text_id=batch.text_id % texts).inputs(DEVICE))
        torch.stack([output.float().sum() for output in outputs.tensors()]).sum().backward()
    return card.flops
