"""What a pass is filled up with is invisible."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from medshards.train.objective.losses import map_losses
from medshards.train.speed.padding import fill, fill_inputs, filled, filling
from tests.train.graph import NO_DROPOUT, tiny, tiny_inputs

SIZES = st.lists(st.integers(1, 100), min_size=1, max_size=5, unique=True).map(sorted)


@given(count=st.integers(0, 500), sizes=SIZES)
def test_the_next_size_holds_what_is_there_and_no_smaller_one_does(count: int, sizes: list[int]) -> None:
    found = filled(count, sizes)
    if count == 0:
        assert found == 0
    elif count <= sizes[-1]:
        assert found in sizes
        assert found >= count
        assert not any(count <= size < found for size in sizes)
    else:
        assert found % sizes[-1] == 0
        assert found - sizes[-1] < count <= found
    assert filled(count, []) == count


def test_prompts_and_texts_are_filled_with_the_first_and_cut_off_again() -> None:
    model = tiny(regularisation=NO_DROPOUT)
    names = ("pixel_values", "img_id", "input_ids", "attention_mask", "text_id")
    inputs = dict(zip(names, tiny_inputs(), strict=True))
    more = fill_inputs(inputs, (3, 7))
    assert {name: len(more[name]) for name in names} == {
        "pixel_values": 2, "img_id": 7, "input_ids": 3, "attention_mask": 3, "text_id": 7,
    }  # fmt: skip
    plain, padded = model(**inputs), model(**more)
    assert padded.presence.shape[1] == 7
    cut = padded.first(4)
    assert cut.first(4) is cut
    for one, other in zip(cut.tensors(), plain.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_losses_and_gradients_of_maps_do_not_see_what_is_filled_in(count: int) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(count, 8, 8, requires_grad=True), torch.rand(count, 16, 16) > 0.5
    seen = []

    def watched(logits: Tensor, targets: Tensor, weight: float, points: bool) -> tuple[Tensor, Tensor]:
        seen.append((len(logits), len(targets)))
        return map_losses(logits, targets, weight, points)

    for points in (False, True):
        expected = torch.stack(map_losses(logits, targets, 0.25, points))
        found = torch.stack(filling(watched, (2, 4))(logits, targets, 0.25, points))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
        (wanted,) = torch.autograd.grad(expected.sum(), logits)
        (gradient,) = torch.autograd.grad(found.sum(), logits)
        torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-9)
    assert seen == [({0: 0, 1: 2, 3: 4, 5: 8}[count],) * 2] * 2


def test_nothing_is_copied_without_need() -> None:
    tensor = torch.zeros(4, 2)
    assert fill(tensor, (4, 8)) is tensor
    assert fill(tensor, ()) is tensor
