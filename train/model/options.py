"""The section `model` of the configuration: architecture, weights, and how the forward pass saves time and memory."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from medshards.train.section import Section


class Regularisation(Section):
    """Dropouts in training; they change no weight and nothing in evaluation."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """After each attention and MLP of the geometry encoder, fusion encoder and decoder."""
    hidden_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Between the two layers of their MLPs. SAM3 was trained with 0.1; ``transformers`` defaults to 0."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth of the image encoder, rate of the last block. SAM3 was trained with 0.1."""


def _word(words: dict[bool, str]) -> BeforeValidator:
    """YAML 1.1 reads `off` as false, and earlier configurations had true and false here."""
    return BeforeValidator(lambda value: words[value] if isinstance(value, bool) else value)


Compile = Annotated[Literal["off", "regions"], _word({False: "off", True: "regions"})]
Checkpointing = Annotated[
    str, Field(pattern=r"^(off|all|vision:[1-9]\d*)$"), _word({False: "off", True: "all"})
]


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021, "LoRA"): weights are frozen, and a small product is learned beside some."""

    rank: PositiveInt = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """The product counts alpha / rank times."""
    targets: tuple[str, ...] = (
        "vision_encoder",
        "text_encoder",
        "detr_encoder",
        "detr_decoder",
        "mask_decoder",
    )
    """Modules by the beginning of their names; every linear layer in them that text prompts reach gets an adapter."""


class ModelConfig(Section):
    """Architecture, weights to start from, and how the forward pass saves time and memory."""

    preset: str = "sam3"
    """Architecture where the weights do not bring their own: sam3, small or tiny."""
    weights: str | None = None
    """A folder or hub id in Hugging Face format, an official .pt file, or null for random weights."""
    image_size: PositiveInt | None = None
    """Side of the square network input, in px; null takes that of the architecture."""
    regularisation: Regularisation = Regularisation()
    lora: LoraConfig | None = None
    """Train adapters alone, {} for those by default; null trains every weight. See train/model/lora.py."""
    checkpoint_activations: Checkpointing | None = "off"
    """Keep less in memory and compute blocks again in the backward pass; the same gradients. all: every block;
    vision:k: every k-th block of the image encoder, which holds most of the memory; null: as little as the card needs
    by an estimate, without a GPU all."""
    compile: Compile | None = None
    """regions: compile each kind of block, the mask head and the mask losses (train/speed/regions.py), which needs a
    C++ compiler; off: not; null: regions on a GPU, unless run.parallel is fsdp."""
    graphs: bool = False
    """Replay the compiled regions as CUDA graphs: two launches a region instead of dozens of kernels. Each shape is
    recorded once and its memory kept."""
