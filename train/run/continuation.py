"""Whether a run that goes on is the run that it was: what decides which samples come, in which order and shape."""

from __future__ import annotations

from typing import Any

from medshards.train.data.order import ORDER_VERSION
from medshards.train.run.checkpoint import State
from medshards.train.run.config import Config

SAME = (
    "run.seed", "batch.images", "data.datasets", "data.weights", "data.instances", "data.absent", "data.impossible",
    "data.max_negatives_per_image", "data.max_prompts_per_image", "data.max_instances_per_prompt", "data.prompt_text",
    "data.random_square_resize", "data.random_window", "data.window_gb", "data.scaled_jpeg",
)  # fmt: skip
"""Fields that must be those of the checkpoint. Free are length, rates, machines, and how often is looked and saved."""


def differences(state: State, config: Config, image_size: int) -> list[str]:
    """What differs between the run that a checkpoint was taken of and one that would go on, each in a few words.

    image_size: side of the new run's network input, px.
    """
    new, default = config.model_dump(mode="json"), Config().model_dump(mode="json")
    pairs = [(n, _field(state.config, n, _field(default, n)), _field(new, n)) for n in SAME]
    side = state.architecture["vision_config"]["backbone_config"]["image_size"]
    pairs.append(("model.image_size", side, image_size))
    pairs.append(("order_version", state.order_version, ORDER_VERSION))
    return [f"{name} was {before!r}, is {now!r}" for name, before, now in pairs if before != now]


def _field(config: dict[str, Any], dotted: str, absent: Any = None) -> Any:
    """A field of a configuration; ``absent`` where it has none, being older than the field."""
    section, name = dotted.split(".")
    return config.get(section, {}).get(name, absent)
