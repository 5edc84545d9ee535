"""The objective agrees with reference numbers, on one rank and on two, and with independent arithmetic."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medshards.train.model.outputs import Outputs, Targets
from medshards.train.objective.losses import classification_loss, map_losses, presence_loss
from medshards.train.objective.matching import MatcherConfig, Pairs
from medshards.train.objective.objective import PRESETS, LossWeights, ObjectiveConfig, objective
from medshards.train.run.parallel import leave
from tests.train import processes
from tests.train.cases import OUTPUT_NAMES, load, outputs_of, random_case, targets_of

RTOL = 1e-5
# The reference file names its terms differently and counts the factor 2 of the one-to-many set in.
REFERENCE_NAMES = {
    "loss_bbox": "l1",
    "loss_giou": "giou",
    "loss_ce": "ce",
    "presence_loss": "presence",
    "loss_mask": "mask",
    "loss_dice": "dice",
    "loss_semantic_seg": "semantic_seg",
    "loss_semantic_dice": "semantic_dice",
}


def loss_cases(golden: Path) -> list[dict]:
    cases = json.loads((golden / "loss" / "index.json").read_text())
    assert cases, "no loss cases found"
    return cases


def assert_terms(found: dict[str, torch.Tensor], expected: dict[str, float], where: str) -> None:
    """Every term of the reference that is a loss must be found; one that is not computed counts as 0."""
    compared = 0
    for name, value in expected.items():
        base = next(
            (
                base
                for base in REFERENCE_NAMES
                if name == base or name.startswith((base + "_aux", base + "_o2m"))
            ),
            None,
        )
        if base is None or (name.startswith("presence_loss") and name.endswith("_o2m")):
            continue
        key = REFERENCE_NAMES[base] + name[len(base) :]
        factor = 2 if name.endswith("_o2m") else 1
        term = factor * float(found.get(key, torch.zeros(())))
        assert term == pytest.approx(value, rel=RTOL, abs=1e-7), (where, name)
        compared += 1
    assert compared, where


def configured(switches: dict[str, int]) -> ObjectiveConfig:
    return ObjectiveConfig(
        instance_masks=bool(switches["instance_masks"]),
        semantic=bool(switches["semantic"]),
        matcher=MatcherConfig(o2m_matcher_on_aux=bool(switches["o2m_matcher_on_aux"])),
        scale_by_sqrt_prompts=bool(switches["sqrtB"]),
    )


def test_terms_total_and_gradients_of_the_reference_cases(golden: Path) -> None:
    config = ObjectiveConfig(scale_by_sqrt_prompts=False)
    for info in loss_cases(golden):
        case, name = load(golden / info["file"]), info["file"]
        outputs, targets = outputs_of(case), targets_of(case, info["mask_target_size"])
        total, terms = objective(outputs, targets, config)
        assert total.item() == pytest.approx(info["terms"]["core_loss"], rel=RTOL), name
        assert float(terms["num_boxes"]) == info["num_boxes_norm"], name
        assert_terms(terms, info["terms"], name)

        total.backward()
        for field in OUTPUT_NAMES:
            if f"grad_{field}" not in case:
                continue
            expected, leaf = case[f"grad_{field}"], getattr(outputs, field)
            assert leaf.grad is not None, (name, field)
            scale = float(expected.abs().max()) if expected.numel() else 0.0
            torch.testing.assert_close(leaf.grad, expected, rtol=0, atol=1e-4 * scale, msg=f"{name} {field}")


def test_total_of_the_reference_cases_under_every_switch(golden: Path) -> None:
    for info in loss_cases(golden):
        case = load(golden / info["file"])
        outputs, targets = outputs_of(case), targets_of(case, info["mask_target_size"])
        for key, expected in info["totals"].items():
            switches = {name: int(value) for name, value in (item.split("=") for item in key.split(","))}
            total, terms = objective(outputs, targets, configured(switches))
            assert total.item() == pytest.approx(expected, rel=RTOL), (info["file"], key)
            if switches["o2m_matcher_on_aux"]:
                assert_terms(terms, info["aux_o2m_terms_with_o2m_matcher_on_aux"], f"{info['file']} {key}")


def test_semantic_presence_from_the_decoder(golden: Path) -> None:
    config = ObjectiveConfig(semantic_presence_from_decoder=True, scale_by_sqrt_prompts=False)
    cases = [info for info in loss_cases(golden) if "semantic_presence_bce_on_last_decoder_presence" in info]
    assert cases
    for info in cases:
        case = load(golden / info["file"])
        outputs, targets = outputs_of(case), targets_of(case, info["mask_target_size"])
        total, terms = objective(outputs, targets, config)
        expected = info["semantic_presence_bce_on_last_decoder_presence"]
        assert float(terms["semantic_presence"]) == pytest.approx(expected, rel=RTOL), info["file"]
        assert total.item() == pytest.approx(info["terms"]["core_loss"] + expected, rel=RTOL), info["file"]


class Scaled(nn.Module):
    """Stands for a model: every output times one shared parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(len(OUTPUT_NAMES)))

    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value * self.scale[OUTPUT_NAMES.index(name)] for name, value in tensors.items()}


def _rank(golden: Path, folder: Path) -> None:
    """One process of the test below: the reference case, then a batch where rank 1 has negatives alone."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    case = load(golden / "loss" / f"ddp2_rank{rank}.npz")
    total, terms = objective(outputs_of(case), targets_of(case, 63))
    found = {"total": total.item(), "terms": {name: float(value) for name, value in terms.items()}}

    model = nn.parallel.DistributedDataParallel(Scaled())
    outputs, targets = random_case(rank, [2, 1] if rank == 0 else [0, 0])
    leaves = {name: getattr(outputs, name).detach() for name in OUTPUT_NAMES}
    objective(Outputs(**model(leaves)), targets)[0].backward()
    found["gradient"] = model.module.scale.grad.tolist()
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    leave()


def test_two_ranks_share_one_normaliser_and_agree_on_gradients(golden: Path, tmp_path: Path) -> None:
    reference = json.loads((golden / "loss" / "ddp2.json").read_text())
    world = reference["world_size"]
    assert processes.run(world, _rank, golden, tmp_path) == [0] * world
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(world)]
    for mine, expected in zip(found, reference["ranks"]):
        where = f"rank {expected['rank']}"
        assert mine["terms"]["num_boxes"] == expected["num_boxes_norm"], where
        assert mine["total"] == pytest.approx(expected["terms"]["core_loss"], rel=RTOL), where
        terms = {name: torch.tensor(value) for name, value in mine["terms"].items()}
        assert_terms(terms, expected["terms"], where)
    assert found[0]["gradient"] == found[1]["gradient"]
    assert all(np.abs(found[0]["gradient"]) > 0), "every output is trained by one rank at least"


def test_negatives_train_presence_alone_and_leave_every_output_connected() -> None:
    outputs, targets = random_case(1, [0, 0, 0])
    total, terms = objective(outputs, targets)
    total.backward()
    assert all(tensor.grad is not None for tensor in outputs.tensors())
    touched = {name for name in OUTPUT_NAMES if getattr(outputs, name).grad.abs().sum() > 0}
    assert touched == {"presence"}
    assert outputs.presence.grad is not None
    assert (outputs.presence.grad > 0).all(), "presence is pushed down in every layer"
    assert {name for name, value in terms.items() if value > 0} == {
        "presence", "presence_aux_0", "presence_aux_1", "num_boxes",
    }  # fmt: skip


def test_the_paper_preset_connects_the_masks_without_training_them() -> None:
    outputs, targets = random_case(1, [2, 1])
    total, terms = objective(outputs, targets, PRESETS["paper_table2"])
    total.backward()
    assert outputs.masks is not None
    assert outputs.masks.grad is not None
    assert not outputs.masks.grad.any()
    assert "mask" not in terms
    assert terms["semantic_dice"] > 0


def test_term_names_do_not_depend_on_the_batch() -> None:
    names = {tuple(objective(*random_case(0, counts))[1]) for counts in ([0], [3], [0, 2, 14])}
    assert len(names) == 1


def test_every_weight_of_the_config_is_a_term() -> None:
    _, terms = objective(*random_case(0, [1]), ObjectiveConfig(semantic_presence_from_decoder=True))
    assert set(LossWeights.model_fields) - {"o2m"} <= set(terms)


def test_the_batch_size_enters_as_a_square_root() -> None:
    outputs, targets = random_case(4, [1, 2, 0])
    scaled, _ = objective(outputs, targets)
    plain, _ = objective(outputs, targets, ObjectiveConfig(scale_by_sqrt_prompts=False))
    assert scaled.item() == pytest.approx(plain.item() * math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("points", [False, True])
def test_computing_masks_in_groups_changes_nothing(points: bool) -> None:
    results = []
    for chunk in (1, 3, 1000):
        outputs, targets = random_case(2, [3, 0, 4])
        total, _ = objective(outputs, targets, ObjectiveConfig(mask_chunk=chunk, mask_points=points))
        total.backward()
        assert outputs.masks is not None
        assert outputs.semantic is not None
        results.append((total.detach(), outputs.masks.grad, outputs.semantic.grad))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-7)


def test_the_order_of_targets_does_not_change_the_total() -> None:
    outputs, targets = random_case(6, [4, 0, 3])
    assert targets.masks is not None
    order = [2, 0, 3, 1, 6, 4, 5]
    shuffled = Targets(targets.boxes[order], targets.num_boxes, targets.masks[order])
    total, _ = objective(outputs, targets)
    assert objective(outputs, shuffled)[0].item() == pytest.approx(total.item(), rel=1e-6)


def test_gradients_agree_with_finite_differences() -> None:
    """Along a random direction, in every output; soft labels and pairs are constants to the gradient."""
    config = ObjectiveConfig(
        alpha_cls=0.0, matcher=MatcherConfig(class_weight=0.0)
    )  # p out of label and pairs
    outputs, targets = random_case(8, [2, 1], layers=2)
    one_to_one = replace(outputs, logits_o2m=None, boxes_o2m=None, masks_o2m=None)
    objective(one_to_one, targets, config)[0].backward()
    generator = torch.Generator().manual_seed(0)
    for name in ("logits", "presence", "masks", "semantic"):
        leaf = getattr(one_to_one, name)
        direction, step = torch.randn(leaf.shape, generator=generator), 1e-2
        up, down = (
            objective(replace(one_to_one, **{name: moved}), targets, config)[0].item()
            for moved in (leaf.detach() + step * direction, leaf.detach() - step * direction)
        )
        slope = (leaf.grad * direction).sum().item()
        assert slope == pytest.approx((up - down) / (2 * step), rel=2e-2, abs=2e-3), name


def test_classification_loss_against_scalar_arithmetic() -> None:
    logits = torch.tensor([[[1.5, -0.5, 0.3], [2.0, -1.0, 0.0]]])  # one layer, two prompts, three queries
    pairs = Pairs(*(torch.tensor([value]) for value in (0, 0, 1, 0)))
    found = classification_loss(logits, pairs, torch.tensor([0.6]), torch.tensor([True, False]), 0.25, 2.0)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    p = sigmoid(-0.5)
    label = p**0.25 * 0.6**0.75
    expected = -10 * (label * math.log(p) + (1 - label) * math.log(1 - p))
    expected += sum(sigmoid(x) ** 2 * math.log(1 + math.exp(x)) for x in (1.5, 0.3))
    assert float(found) == pytest.approx(expected / (2 * 200), rel=1e-6)


def test_a_matched_box_that_misses_keeps_a_label_above_zero() -> None:
    logits = torch.zeros(1, 1, 1)
    pairs = Pairs(*(torch.tensor([0]) for _ in range(4)))
    found = classification_loss(logits, pairs, torch.tensor([0.0]), torch.tensor([True]), 0.25, 2.0)
    assert float(found) == pytest.approx(10 * math.log(2) / 200)  # not the 0.25 * log 2 of an unmatched query


def test_presence_loss_against_scalar_arithmetic() -> None:
    found = presence_loss(torch.tensor([[0.7, -1.2]]), torch.tensor([True, False]))
    expected = 0.5 * (math.log(1 + math.exp(-0.7)) + math.log(1 + math.exp(-1.2))) / 2
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_map_losses_against_numpy() -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(2, 8, 8)), rng.random((2, 8, 8)) > 0.6
    focal, dice = map_losses(torch.from_numpy(z), torch.from_numpy(y), alpha=0.6)
    q = 1 / (1 + np.exp(-z))
    right = np.where(y, q, 1 - q)
    expected = (np.where(y, 0.6, 0.4) * (1 - right) ** 2 * -np.log(right)).mean((1, 2))
    np.testing.assert_allclose(focal, expected, rtol=1e-5)
    expected = 1 - (2 * (q * y).sum((1, 2)) + 1) / (q.sum((1, 2)) + y.sum((1, 2)) + 1)
    np.testing.assert_allclose(dice, expected, rtol=1e-5)


def test_mask_points_averages_the_target_over_areas() -> None:
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(1, 4, 4)), rng.random((1, 12, 12)) > 0.5
    coarse = y.reshape(1, 4, 3, 4, 3).mean((2, 4))
    q = 1 / (1 + np.exp(-z))
    _, dice = map_losses(torch.from_numpy(z), torch.from_numpy(y), alpha=0.25, points=True)
    expected = 1 - (2 * (q * coarse).sum() + 1) / (q.sum() + coarse.sum() + 1)
    np.testing.assert_allclose(dice, [expected], rtol=1e-5)


def test_masks_of_bytes_and_of_booleans_are_the_same() -> None:
    outputs, targets = random_case(2, [3, 1])
    assert targets.masks is not None
    as_bytes = replace(targets, masks=targets.masks.to(torch.uint8))
    assert torch.equal(objective(outputs, targets)[0], objective(outputs, as_bytes)[0])


def test_autocast_does_not_reach_the_objective() -> None:
    outputs, targets = random_case(2, [3, 1])
    expected, _ = objective(outputs, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = objective(outputs, targets)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_missing_target_masks_are_an_error_unless_nothing_needs_them() -> None:
    outputs, targets = random_case(2, [3, 1])
    without = Targets(targets.boxes, targets.num_boxes)
    with pytest.raises(ValueError, match="the targets have none"):
        objective(outputs, without)
    objective(outputs, without, ObjectiveConfig(instance_masks=False, semantic=False))
    negatives, none = random_case(2, [0, 0])
    objective(negatives, Targets(none.boxes, none.num_boxes))[0].backward()


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(ValueError, match="instance_mask"):
        ObjectiveConfig.model_validate({"instance_mask": False})
