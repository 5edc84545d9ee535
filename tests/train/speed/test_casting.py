"""Weights that are cast together once a pass give what autocast gives, to the last bit."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from medshards.train.model.graph import Sam3Graph
from medshards.train.speed.casting import LowWeights, blocks
from tests.train.graph import NO_DROPOUT, tiny, tiny_inputs


def gradients(model: Sam3Graph, cast: bool) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    with LowWeights(model, torch.bfloat16).used() if cast else nullcontext():
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(*tiny_inputs())
        loss = torch.stack([output.float().square().mean() for output in outputs.tensors()]).sum()
        loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("level", ["off", "all"])
def test_loss_and_gradients_are_those_of_autocast(level: str) -> None:
    model = tiny(regularisation=NO_DROPOUT)
    model.checkpoint_activations(level)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    loss, expected = gradients(model, cast=False)
    again, found = gradients(model, cast=True)
    assert again == loss
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=0, msg=name)
    assert all(isinstance(parameter, nn.Parameter) for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_frozen_weights_are_cast_and_get_no_gradient() -> None:
    model = tiny(regularisation=NO_DROPOUT)
    model.vision_encoder.requires_grad_(False)
    loss, expected = gradients(model, cast=False)
    again, found = gradients(model, cast=True)
    assert again == loss
    assert found.keys() == expected.keys()
    assert not any(name.startswith("vision_encoder.") for name in found)
    with LowWeights(model, torch.bfloat16).used():
        layer = model.vision_encoder.backbone.layers[0]
        assert layer.mlp.fc1.weight.dtype == torch.bfloat16
        assert not layer.mlp.fc1.weight.requires_grad
        assert layer.layer_norm1.weight.dtype == torch.float32


def test_an_error_inside_gives_the_weights_back() -> None:
    model = tiny()
    with pytest.raises(RuntimeError), LowWeights(model, torch.bfloat16).used():
        raise RuntimeError
    assert all(isinstance(parameter, nn.Parameter) for parameter in model.parameters())


def test_each_pass_sees_the_weights_of_its_start_at_the_same_addresses() -> None:
    model = tiny()
    low, layer = LowWeights(model, torch.bfloat16), model.vision_encoder.backbone.layers[0].mlp.fc1
    addresses = set()
    for _ in range(2):
        with low.used():
            used = layer.weight.clone()
            addresses.add(layer.weight.data_ptr())
        assert torch.equal(used, layer.weight.bfloat16())
        with torch.no_grad():
            layer.weight += 1
    assert len(addresses) == 1


def test_blocks_hold_every_weight_once_and_each_layer_for_itself() -> None:
    model = tiny()
    found = [id(module._parameters[name]) for places in blocks(model) for module, name in places]
    cast = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    wanted = [id(p) for m in model.modules() if isinstance(m, cast) for p in m.parameters(recurse=False)]
    assert sorted(found) == sorted(wanted)
    assert len(found) == len(set(found))
    layer = [id(p) for p in model.vision_encoder.backbone.layers[1].parameters()]
    own = [places for places in blocks(model) if id(places[0][0]._parameters["weight"]) in layer]
    assert len(own) == 1
