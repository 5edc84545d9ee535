"""What a card that is not there counts, beside what can be added up by hand."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from medshards.train.memory.simulate import DEVICE, simulated

KIB = 2**10
ROW = 256 * 4  # bytes of a row of 256 float32


def test_memory_is_taken_and_given_back() -> None:
    with simulated(None) as card:
        a = torch.empty(4, 256, device=DEVICE)
        assert (card.live, card.peak) == (4 * ROW, 4 * ROW)
        view = a[1:]
        b = a + 1
        assert card.live == 8 * ROW
        del a
        assert card.live == 8 * ROW  # the view holds it
        del b, view
        assert (card.live, card.peak) == (0, 8 * ROW)
        small = torch.empty(1, device=DEVICE)
        assert card.live == 512  # what the allocator gives at least
        del small
        assert torch.zeros(3).sum() == 0  # the host has numbers


def blocks(x: Tensor, weights: list[Tensor], again: bool) -> Tensor:
    """Three times F.linear and relu, each kept or computed again."""

    def block(x: Tensor, weight: Tensor) -> Tensor:
        return F.relu(F.linear(x, weight))

    for weight in weights:
        x = checkpoint(block, x, weight, use_reentrant=False) if again else block(x, weight)
    return x


@pytest.mark.parametrize(
    ("low", "again", "kept"),
    [
        (None, False, 3 * 64 * ROW),  # what relu and the next product keep is one tensor
        (None, True, 3 * 64 * ROW),  # the inputs of blocks, the first of which was there before
        # In bf16 x, three outputs, and all weights but the first, for x needs no gradient.
        (torch.bfloat16, False, (64 + 3 * 64 + 2 * 256) * ROW // 2),
        (torch.bfloat16, True, 3 * 64 * ROW // 2),
    ],
)
def test_what_a_backward_pass_needs(low: Any, again: bool, kept: int) -> None:
    """Blocks that are computed again find the same types: autocast holds in the backward pass, too."""
    with simulated(low) as card:
        x = torch.empty(64, 256, device=DEVICE)
        weights = [torch.empty(256, 256, device=DEVICE, requires_grad=True) for _ in range(3)]
        before = card.live
        assert before == (64 + 3 * 256) * ROW
        out = blocks(x, weights, again)
        assert card.live - before == kept
        out.float().sum().backward()
        del out
        assert card.live - before == 3 * 256 * ROW  # gradients
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in weights)


def test_types_are_those_of_autocast_on_a_gpu() -> None:
    with simulated(torch.bfloat16):
        x = torch.empty(2, 8, device=DEVICE)
        assert F.linear(x, torch.empty(4, 8, device=DEVICE)).dtype == torch.bfloat16
        assert (x @ x.T).dtype == torch.bfloat16
        assert F.layer_norm(x.bfloat16(), (8,)).dtype == torch.float32
        with torch.autocast(DEVICE.type, enabled=False):
            assert (x @ x.T).dtype == torch.float32


def test_attention_keeps_no_table_of_queries_and_keys_unless_a_mask_forbids_the_fused_kernel() -> None:
    def taken(mask: Tensor | None) -> int:
        before = card.live
        out = F.scaled_dot_product_attention(q, q, q, attn_mask=mask)
        assert out.shape == q.shape
        return card.live - before

    with simulated(None) as card:
        q = torch.empty(1, 2, 512, 16, device=DEVICE, requires_grad=True)
        table = 2 * 512 * 512 * 4
        output_and_sums = 2 * 512 * 16 * 4 + 2 * 512 * 4
        assert taken(None) == output_and_sums
        assert taken(torch.empty(1, 2, 512, 512, device=DEVICE)) == output_and_sums
        assert taken(torch.empty(1, 512, 512, 2, device=DEVICE).permute(0, 3, 1, 2)) >= table
