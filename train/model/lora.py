"""LoRA: a frozen weight W learns W + (alpha / rank) B A, of which A and B are small.

The layers are those of the model under their own names, with ``lora_a`` and ``lora_b`` beside ``weight``; so optimiser,
checkpoints, compilation and ranks know nothing of them. Adapters are stored as `peft` stores them, and adapters of
linear layers that `peft` trained on ``Sam3Model`` are read too. (`peft` itself would rename every weight.)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medshards.common.text import in_words
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.options import LoraConfig
from medshards.train.model.weights import WeightsError, build_model, fitting_preset

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_PEFT = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


class LoraLinear(nn.Linear):
    """A linear layer whose weight and bias are frozen, with an adapter that begins at zero."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias = layer.weight.requires_grad_(False), layer.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.lora_b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        low: Tensor = F.linear(F.linear(input, self.lora_a), self.lora_b)
        return F.linear(input, self.weight, self.bias) + self.scale * low

    def merged(self) -> nn.Linear:
        """A plain layer that computes the same."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight, layer.bias = self.weight, self.bias
        _add(layer.weight, self.lora_a, self.lora_b, self.scale)
        return layer.requires_grad_(True)


def add_lora(model: Sam3Graph, config: LoraConfig, seed: int = 0) -> None:
    """Freeze the model and give its layers adapters, drawn from ``seed``; raises WeightsError for an unknown target."""
    found = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer.weight.requires_grad and name.startswith(config.targets)
    }
    for target in config.targets:
        if not any(name.startswith(target) for name in found):
            raise WeightsError(f"model.lora.targets: no linear layer has a name that begins with {target!r}")
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, layer in found.items():
            model.set_submodule(name, LoraLinear(layer, config.rank, config.alpha))


def is_adapter(name: str) -> bool:
    """Whether a tensor of a state dict belongs to an adapter."""
    return name.endswith((".lora_a", ".lora_b"))


def layers(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """The layers with adapters."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLinear):
            yield name, layer


def merge(model: Sam3Graph) -> None:
    """Put the adapters into the weights: a plain model with the same outputs."""
    for name, layer in layers(model):
        model.set_submodule(name, layer.merged())


def digest(model: Sam3Graph) -> str:
    """SHA-256 of all weights but the adapters, by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not is_adapter(name):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return found.hexdigest()


def export_adapter(model: Sam3Graph, folder: Path, config: LoraConfig, weights: str | None) -> None:
    """Write the adapters as `peft` does: adapter_config.json and adapter_model.safetensors.

    ``weights`` is what they were trained on; the digest of these weights is written with them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, layer in layers(model):
        tensors[_PEFT + name + _A] = layer.lora_a.detach().cpu().contiguous()
        tensors[_PEFT + name + _B] = layer.lora_b.detach().cpu().contiguous()
    content = {
        "peft_type": "LORA",
        "base_model_name_or_path": weights,
        "base_sha256": digest(model),
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [name for name, _ in layers(model)],
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")
    partial = folder / f"{TENSORS}.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(folder / TENSORS)


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json of a folder; raises WeightsError unless it is plain LoRA."""
    try:
        content = json.loads((folder / CONFIG).read_bytes())
        rank, alpha = float(content["r"]), float(content["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder / CONFIG} is no configuration of LoRA adapters: {in_words(error)}"
        ) from error
    more = [
        key for key in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save") if content.get(key)
    ]
    if content.get("peft_type") != "LORA" or content.get("bias", "none") != "none" or more:
        raise WeightsError(
            f"{folder / CONFIG}: only plain LoRA of linear layers can be read, not with "
            f"{', '.join(more) or 'this peft_type or bias'}: merge the adapters where they were trained (peft: "
            "merge_and_unload) and save the whole model"
        )
    return {**content, "scale": alpha / (math.sqrt(rank) if content.get("use_rslora") else rank)}


def open_adapter(folder: Path, base: str | None = None) -> tuple[Sam3Graph, str]:
    """The weights that adapters were trained on, with the adapters in them; and where these weights come from.

    ``base`` is where they are now, by default where they were in training. Raises WeightsError.
    """
    base = base or read_config(folder).get("base_model_name_or_path")
    if not base:
        raise WeightsError(f"{folder} does not say what its adapters were trained on: name it with --base")
    official = Path(base).suffix in (".pt", ".pth") and Path(base).is_file()
    model = build_model(base, fitting_preset(Path(base))) if official else build_model(base)
    merge_adapter(model, folder)
    return model, base


@torch.no_grad()
def merge_adapter(model: Sam3Graph, folder: Path) -> None:
    """Put the adapters of a folder into the weights that they were trained on.

    Raises WeightsError when an adapter fits no layer, or when the weights are others.
    """
    content = read_config(folder)
    known = content.get("base_sha256")
    if known is not None and known != digest(model):
        raise WeightsError(
            f"{folder}: these adapters were trained on other weights (SHA-256 {known[:12]}, these are "
            f"{digest(model)[:12]}): name theirs with --base"
        )
    try:
        with safe_open(folder / TENSORS, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118, not a dict
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{folder / TENSORS} cannot be read: {error}") from error
    for name, (a, b) in _pairs(tensors, folder).items():
        try:
            layer = model.get_submodule(name)
        except AttributeError:
            layer = None
        if not isinstance(layer, nn.Linear) or layer.weight.shape != (len(b), a.shape[1]):
            raise WeightsError(f"{folder}: the adapter of {name} fits no linear layer of this model")
        _add(layer.weight, a, b, content["scale"])


def _pairs(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B by the name of their layer."""
    names = {name.removeprefix(_PEFT).removesuffix(_A).removesuffix(_B) for name in tensors}
    wanted = {_PEFT + name + end for name in names for end in (_A, _B)}
    if odd := sorted(wanted ^ tensors.keys()):
        raise WeightsError(
            f"{folder / TENSORS}: {len(odd)} tensors are no pairs of adapters, such as {odd[0]}"
        )
    return {name: (tensors[_PEFT + name + _A], tensors[_PEFT + name + _B]) for name in sorted(names)}


@torch.no_grad()
def _add(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> None:
    weight += scale * (b.to(weight) @ a.to(weight))
