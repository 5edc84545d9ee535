"""Adapters: what is trained, how large it is, and that merged weights compute the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from medshards.train.model.graph import Sam3Graph
from medshards.train.model.lora import (
    LoraLinear,
    add_lora,
    digest,
    export_adapter,
    is_adapter,
    layers,
    merge,
    open_adapter,
)
from medshards.train.model.options import LoraConfig
from medshards.train.model.weights import WeightsError, export_folder, preset_config
from tests.train.graph import NO_DROPOUT, tiny, tiny_inputs

CONFIG = LoraConfig(rank=4)


def trained(seed: int = 3) -> Sam3Graph:
    """A tiny model whose adapters are no longer zero."""
    model = tiny(regularisation=NO_DROPOUT)
    add_lora(model, CONFIG)
    torch.manual_seed(seed)
    with torch.no_grad():
        for _, layer in layers(model):
            layer.lora_b.normal_(std=0.02)
    return model


def outputs(model: Sam3Graph) -> list[Tensor]:
    with torch.no_grad():
        return model.eval()(*tiny_inputs()).tensors()


def assert_same(one: Sam3Graph, other: Sam3Graph) -> None:
    for found, expected in zip(outputs(one), outputs(other), strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(scale, 1))


def test_new_adapters_change_nothing_and_all_else_is_frozen() -> None:
    plain, model = tiny(regularisation=NO_DROPOUT), tiny(regularisation=NO_DROPOUT)
    add_lora(model, CONFIG)
    assert_same(model, plain)
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learned == {name for name in model.state_dict() if is_adapter(name)}
    assert {name for name in model.state_dict() if not is_adapter(name)} == set(plain.state_dict())
    loss = torch.stack([o.float().square().mean() for o in model.train()(*tiny_inputs()).tensors()]).sum()
    loss.backward()
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without  # ranks would wait for them


def test_merged_weights_compute_the_same() -> None:
    model, other = trained(), trained()
    merge(model)
    assert not any(isinstance(module, LoraLinear) for module in model.modules())
    assert set(model.state_dict()) == set(tiny().state_dict())
    assert_same(model, other)
    plain = outputs(tiny(regularisation=NO_DROPOUT))
    assert any(not torch.allclose(a, b, atol=1e-2) for a, b in zip(outputs(other), plain, strict=True))


def test_adapters_of_the_full_model_stay_below_80_megabytes() -> None:
    """With the ranks and targets that the configuration has by default, in float32."""
    with torch.device("meta"), no_init_weights():
        model = Sam3Graph(preset_config("sam3"))
        add_lora(model, LoraConfig())
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 60e6 < 4 * count <= 80e6
    names = [name for name, _ in layers(model)]
    assert "vision_encoder.backbone.layers.31.attention.q_proj" in names
    assert not any(name.startswith("vision_encoder.neck.fpn_layers.3") for name in names)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    export_folder(tiny(), folder)
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    export_adapter(trained(), tmp_path / "adapter", CONFIG, str(base))
    return tmp_path / "adapter"


def test_exported_adapters_on_their_base_are_the_model(adapter: Path, base: Path, tmp_path: Path) -> None:
    model, weights = open_adapter(adapter)
    assert weights == str(base)
    assert_same(model, trained())
    moved = base.rename(tmp_path / "moved")
    assert_same(open_adapter(adapter, str(moved))[0], model)
    moved.rename(base)


def test_the_format_is_that_of_peft(adapter: Path) -> None:
    """Names and fields as in the documentation of peft, "PEFT checkpoint format"."""
    from safetensors.torch import load_file

    content = json.loads((adapter / "adapter_config.json").read_text())
    assert (content["peft_type"], content["r"], content["lora_alpha"]) == ("LORA", 4, 32.0)
    tensors = load_file(adapter / "adapter_model.safetensors")
    a, b = (tensors[f"base_model.model.detr_decoder.layers.0.mlp.fc1.lora_{part}.weight"] for part in "AB")
    assert (a.shape, b.shape) == ((4, 32), (64, 4))
    assert len(tensors) == 2 * len(content["target_modules"])


def change(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    other = tiny(seed=1)
    export_folder(other, tmp_path / "other")
    assert digest(other) != digest(tiny())
    with pytest.raises(WeightsError, match="trained on other weights"):
        open_adapter(adapter, str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_dora": True}, "only plain LoRA of linear layers can be read, not with use_dora"),
        ({"peft_type": "IA3"}, "only plain LoRA"),
        ({"base_model_name_or_path": None}, "does not say what its adapters were trained on"),
        ({"r": "many"}, "is no configuration of LoRA adapters"),
    ],
)
def test_what_cannot_be_read_is_refused(adapter: Path, values: dict[str, Any], message: str) -> None:
    change(adapter, **values)
    with pytest.raises(WeightsError, match=message):
        open_adapter(adapter)


def test_adapters_of_another_model_are_refused(adapter: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "layers.0" in name)
    save_file({**tensors, name.replace("layers.0", "layers.77"): tensors[name].clone()}, path)
    with pytest.raises(WeightsError, match="no pairs of adapters"):
        open_adapter(adapter)
    wrong = {n: t[:, :1].contiguous() if "lora_A" in n else t for n, t in tensors.items()}
    save_file(wrong, path)
    with pytest.raises(WeightsError, match="fits no linear layer of this model"):
        open_adapter(adapter)


def test_a_target_that_names_nothing_is_refused() -> None:
    with pytest.raises(WeightsError, match="no linear layer has a name that begins with 'vison'"):
        add_lora(tiny(), LoraConfig(targets=("vison",)))


def test_a_layer_adds_its_scaled_product() -> None:
    layer = LoraLinear(nn.Linear(3, 2), rank=2, alpha=6)
    with torch.no_grad():
        layer.lora_b.normal_()
    x = torch.randn(5, 3)
    wanted = x @ (layer.weight + 3 * layer.lora_b @ layer.lora_a).T + layer.bias
    torch.testing.assert_close(layer(x), wanted)
