"""Cards: how much of their memory is planned with, and how fast one of them was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from medshards.common.yamlfile import read_yaml
from medshards.train.run.config import Config
from medshards.train.run.parallel import World

MEASURED = Path(__file__).with_name("measured.yaml")
GIB = 2**30
OF_A_GB = 0.94  # GiB that a card has at least for each GB it is sold with: 22.5 of 24 (L4), 45 of 48 (L40S)
PLANNED = 0.92  # the rest is for CUDA's context, workspaces of libraries, gaps between blocks, and the estimate's error


@dataclass(frozen=True)
class Card:
    """name: for people. memory: bytes."""

    name: str
    memory: int

    @property
    def room(self) -> int:
        """Bytes that a step may take by the estimate."""
        return int(PLANNED * self.memory)


def sold_with(gb: float) -> Card:
    """Any card that is sold with so many GB."""
    return Card(f"a card of {gb:g} GB", int(OF_A_GB * gb * GIB))


def here() -> Card | None:
    """The card of this process, None where there is none."""
    if not torch.cuda.is_available():
        return None
    return Card(torch.cuda.get_device_name(), torch.cuda.mem_get_info()[1])


def smallest(ranks: World) -> Card | None:
    """The card with the least memory of all ranks, under the name of this one; None where one has none. Every rank must
    call it at the same point.
    """
    own = here() if ranks.device.type == "cuda" else None
    memory = own.memory if own else 0
    least = min(ranks.sum(*(memory if rank == ranks.rank else 0 for rank in range(ranks.size))))
    return replace(own, memory=int(least)) if own and least else None


@cache
def measured() -> dict[str, Any]:
    """What measured.yaml says."""
    content: dict[str, Any] = read_yaml(MEASURED)
    return content


def speed(config: Config, images: int, level: str) -> float | None:
    """Images/s of a pass like this where it was measured, on `measured`'s card with one prompt an image; else None."""
    options = config.model
    alone = config.run.parallel == "ddp"
    like = alone and options.preset == "sam3" and options.image_size in (None, 1008) and options.lora is None
    if not like or config.run.precision != "bf16":
        return None
    rows = {(row["images"], row["checkpointing"]): row["images_s"] for row in measured()["rows"]}
    found: float | None = rows.get((images, level))
    return found
