"""Groups, rates, decay, schedule and clipping agree with the reference numbers and with the real model."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import Sam3Config, Sam3Model

from medshards.train.model.state_dict import official_name
from medshards.train.run.optim import (
    OptimConfig,
    ScheduleConfig,
    build_optimizer,
    clip_gradients,
    lr_factor,
    parameter_groups,
    refuse_non_finite,
    set_rates,
)


@pytest.fixture(scope="module")
def sam3() -> Sam3Model:
    """The full-size model without storage."""
    with torch.device("meta"):
        return Sam3Model(Sam3Config())


def by_name(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: group for group in groups for name, _ in group["params"]}


def test_multipliers_of_the_official_layer_decay(golden: Path, sam3: Sam3Model) -> None:
    reference = json.loads((golden / "llrd" / "official_depth32.json").read_text())
    for rate, key in ((0.85, "mult_decay_0_85"), (0.9, "mult_decay_0_90")):
        config = OptimConfig(layer_decay="vit32", layer_decay_rate=rate)
        groups = by_name(parameter_groups(sam3, config))
        assert reference["params"]
        for name, expected in reference["params"].items():
            assert groups[name]["lr"] == pytest.approx(5e-5 * expected[key], rel=1e-9), name
            assert (groups[name]["weight_decay"] == 0.1) == expected["weight_decay"], name


def test_multipliers_of_the_papers_twelve_layers(golden: Path, sam3: Sam3Model) -> None:
    reference = json.loads((golden / "llrd" / "paper12_over_32_blocks.json").read_text())
    config = OptimConfig(layer_decay="paper12", layer_decay_rate=reference["gamma"])
    groups = by_name(parameter_groups(sam3, config))
    backbone = "vision_encoder.backbone."
    seen = 0
    for name, group in groups.items():
        if not name.startswith(backbone):
            continue
        block = name.removeprefix(backbone + "layers.").split(".")[0] if ".layers." in name else None
        expected = reference["embeddings"] if block is None else reference["blocks"][block]
        assert group["lr"] == pytest.approx(5e-5 * expected["mult"], rel=1e-9), name
        seen += 1
    assert seen > 32 * 10


def test_weight_decay_of_the_other_modules(golden: Path, sam3: Sam3Model) -> None:
    reference = json.loads((golden / "llrd" / "weight_decay_official_names.json").read_text())["params"]
    compared = set()
    for name, group in by_name(parameter_groups(sam3, OptimConfig())).items():
        official, _ = official_name(name)
        if official in reference:
            assert (group["weight_decay"] > 0) == reference[official], name
            compared.add(official)
    assert len(compared) > 0.9 * len(reference), sorted(set(reference) - compared)


def test_every_part_of_sam3_has_its_rate(sam3: Sam3Model) -> None:
    """Millions of parameters of the released model, counted by part."""
    groups = parameter_groups(sam3, OptimConfig(layer_decay="off"))
    millions: dict[float, float] = {}
    for group in groups:
        size = sum(parameter.numel() for _, parameter in group["params"]) / 1e6
        millions[group["lr"]] = millions.get(group["lr"], 0) + size
    assert {lr: round(size, 2) for lr, size in millions.items()} == {
        3e-4: pytest.approx(15.06 + 9.47, abs=0.011),
        5e-5: pytest.approx(446.24 + 7.80 + 353.72, abs=0.011),
        1e-4: pytest.approx(8.08, abs=0.011),
    }


def test_every_trainable_parameter_is_in_one_group(sam3: Sam3Model) -> None:
    for parameter in sam3.geometry_encoder.parameters():
        parameter.requires_grad_(False)
    try:
        names = [name for group in parameter_groups(sam3, OptimConfig()) for name, _ in group["params"]]
    finally:
        for parameter in sam3.geometry_encoder.parameters():
            parameter.requires_grad_(True)
    assert sorted(names) == sorted(
        n for n, _ in sam3.named_parameters() if not n.startswith("geometry_encoder")
    )


def test_a_wrapper_changes_no_rate(sam3: Sam3Model) -> None:
    wrapped = nn.Module()
    wrapped.module = nn.Module()
    wrapped.module.sam3 = sam3
    plain, inner = (
        by_name(parameter_groups(sam3, OptimConfig())),
        by_name(parameter_groups(wrapped, OptimConfig())),
    )
    assert {name.removeprefix("module.sam3."): group["lr"] for name, group in inner.items()} == {
        name: group["lr"] for name, group in plain.items()
    }


def test_embeddings_can_be_excluded_from_decay(sam3: Sam3Model) -> None:
    default, excluded = (
        by_name(parameter_groups(sam3, OptimConfig(no_decay_embeddings=choice))) for choice in (False, True)
    )
    changed = {name for name in default if default[name]["weight_decay"] != excluded[name]["weight_decay"]}
    assert changed == {
        "vision_encoder.backbone.embeddings.position_embeddings",
        "text_encoder.text_model.embeddings.token_embedding.weight",
        "text_encoder.text_model.embeddings.position_embedding.weight",
        "geometry_encoder.label_embed.weight",
        "geometry_encoder.cls_embed.weight",
        "detr_decoder.query_embed.weight",
        "detr_decoder.reference_points.weight",
        "detr_decoder.presence_token.weight",
    }


def test_a_parameter_of_no_known_part_is_refused() -> None:
    model = nn.ModuleDict({"adapter": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="adapter"):
        parameter_groups(model, OptimConfig())


def test_schedule_of_the_reference_cases(golden: Path) -> None:
    cases = json.loads((golden / "schedule" / "inverse_sqrt.json").read_text())["cases"]
    assert cases
    for case in cases:
        shape = (case["total"], case["warmup_steps"], case["timescale"], case["cooldown_steps"])
        for step, expected in zip(case["steps"], case["lr"], strict=True):
            assert case["base_lr"] * lr_factor(step, *shape) == pytest.approx(expected, rel=1e-9), (
                shape,
                step,
            )


@given(
    total=st.integers(1, 5000),
    warmup=st.integers(0, 500),
    timescale=st.integers(1, 2000),
    cooldown=st.integers(0, 500),
)
def test_the_rate_rises_to_its_base_and_then_never_rises(
    total: int, warmup: int, timescale: int, cooldown: int
) -> None:
    factors = [
        lr_factor(step, total, warmup, timescale, cooldown) for step in range(0, total, 1 + total // 100)
    ]
    assert all(0 <= factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_the_default_warm_up_follows_the_length_of_the_run() -> None:
    assert [ScheduleConfig().warmup_of(total) for total in (10, 2000, 40_000)] == [0, 100, 1000]
    assert ScheduleConfig(warmup=0).warmup_of(40_000) == 0


def small_model() -> nn.ModuleDict:
    return nn.ModuleDict({"detr_decoder": nn.Linear(3, 2), "text_encoder": nn.LayerNorm(3)})


def test_optimiser_and_schedule_set_the_rates_of_each_update() -> None:
    model = small_model()
    optimizer = build_optimizer(model, OptimConfig())
    base, rates = [group["lr"] for group in optimizer.param_groups], []
    for step in range(4):
        set_rates(optimizer, base, ScheduleConfig(warmup=2, timescale=1), step, total=100)
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
    assert set(rates[0]) == {"decoder", "decoder, no decay", "text, no decay"}
    assert [rate["decoder"] for rate in rates] == pytest.approx([0, 1.5e-4, 3e-4, 3e-4 / 2**0.5])
    assert [rate["text, no decay"] for rate in rates] == pytest.approx([0, 2.5e-5, 5e-5, 5e-5 / 2**0.5])
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_a_run_goes_on_from_saved_state() -> None:
    def start() -> tuple[nn.ModuleDict, torch.optim.AdamW]:
        torch.manual_seed(0)
        model = small_model()
        return model, build_optimizer(model, OptimConfig())

    base = [group["lr"] for group in start()[1].param_groups]

    def update(model: nn.ModuleDict, optimizer: torch.optim.Optimizer, seed: int) -> None:
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        set_rates(optimizer, base, ScheduleConfig(warmup=2), seed, total=50)
        optimizer.zero_grad()
        model["detr_decoder"](model["text_encoder"](x)).square().sum().backward()
        clip_gradients(model.parameters(), 0.1)
        optimizer.step()

    whole, first, second = start(), start(), start()
    for seed in range(6):
        update(*whole, seed)
    for seed in range(3):
        update(*first, seed)
    second[0].load_state_dict(first[0].state_dict())
    second[1].load_state_dict(first[1].state_dict())
    for seed in range(3, 6):
        update(*second, seed)
    for a, b in zip(whole[0].parameters(), second[0].parameters()):
        assert torch.equal(a, b)


def test_clipping_is_global_and_returns_the_norm_before() -> None:
    a, b = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert float(clip_gradients([a, b], 0.1)) == pytest.approx(5.0)
    assert [float(a.grad), float(b.grad)] == pytest.approx([0.06, 0.08], rel=1e-4)
    assert float(clip_gradients([a, b], 10.0)) == pytest.approx(0.1, rel=1e-4)
    assert [float(a.grad), float(b.grad)] == pytest.approx([0.06, 0.08], rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_refused(value: float) -> None:
    a, b = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    a.grad, b.grad = torch.tensor([value]), torch.tensor([4.0])
    norm = float(clip_gradients([a, b], 0.1))
    with pytest.raises(FloatingPointError, match="the gradient of update 3 is not finite"):
        refuse_non_finite(norm, 3)
    refuse_non_finite(1e30, 3)
