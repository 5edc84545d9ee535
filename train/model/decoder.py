"""The detection decoder with two query sets, over the layers of ``transformers``' ``Sam3DetrDecoder``.

The library's own loop knows the one-to-one set alone. Training adds a one-to-many set that shares every
weight: the same learned query embeddings and reference boxes, used a second time. Self-attention, which lets
one-to-one queries settle who takes which instance, sees the presence token and the one-to-one queries only;
the one-to-many queries skip it, so that several of them may settle on one instance. (Hu et al. 2023,
"DAC-DETR: divide the attention layers and conquer".)
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam3.modeling_sam3 import Sam3DetrDecoder, Sam3DetrDecoderLayer

Run = Callable[..., Any]  # calls its first argument with the others; may checkpoint activations


class Memory(NamedTuple):
    """What the queries attend to. B prompts, S = h·w image tokens, P prompt tokens, D channels."""

    image: Tensor  # (B, S, D) tokens of the fusion encoder
    position: Tensor  # (1, S, D) their position encoding
    size: tuple[int, int]  # (h, w)
    prompt: Tensor  # (B, P, D)
    prompt_mask: Tensor  # (B, 1, 1, P) bool, true = real token


class Decoded(NamedTuple):
    """Per decoder layer; N queries, the one-to-one set first."""

    hidden: Tensor  # (L, B, N, D), normalised
    boxes: Tensor  # (L, B, N, 4) cxcywh in [0, 1]
    presence: Tensor  # (L, B) logits


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """Logit of ``x`` in [0, 1], with both x and 1 - x held above ``eps``."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def box_bias(decoder: Sam3DetrDecoder, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Attention bias (B, heads, N, h*w) of image tokens relative to each query's box (B, N, 4) cxcywh.

    Signed distances from a token's row or column to the two edges of the box, on a logarithmic scale, go
    through a small network for each axis; the bias is the sum of both axes.
    """

    def axis(network: nn.Module, centre: Tensor, extent: Tensor, steps: int) -> Tensor:
        grid = torch.arange(steps, dtype=boxes.dtype, device=boxes.device) / steps
        edges = torch.stack([centre - extent / 2, centre + extent / 2], dim=-1)
        distance = 8 * (grid[:, None] - edges[:, :, None])  # (B, N, steps, 2)
        bias: Tensor = network(distance.sign() * torch.log2(distance.abs() + 1) / math.log2(8))
        return bias

    cx, cy, width, height = boxes.unbind(-1)
    rows = axis(decoder.box_rpb_embed_y, cy, height, size[0])
    columns = axis(decoder.box_rpb_embed_x, cx, width, size[1])
    return (rows[:, :, :, None] + columns[:, :, None]).flatten(2, 3).permute(0, 3, 1, 2)


def decoder_layer(
    decoder: Sam3DetrDecoder,
    layer: Sam3DetrDecoderLayer,
    hidden: Tensor,
    boxes: Tensor,
    reference: Tensor,
    memory: Memory,
    attending: int,
) -> tuple[Tensor, ...]:
    """One layer and its predictions.

    ``hidden`` (B, 1 + N, D) has the presence token first, ``attending`` tokens self-attend; the queries attend
    to ``boxes`` (B, N, 4), and ``reference`` are the same boxes, attached to what predicted them. Returns the
    hidden states, the same of the queries normalised, their boxes, the reference of the next layer, and the
    presence logit (B,).
    """
    query_pos = decoder.ref_point_head(decoder.position_encoding.encode_boxes(boxes))
    query_pos = F.pad(query_pos, (0, 0, 1, 0))  # the presence token has neither position nor box
    bias = F.pad(box_bias(decoder, boxes, memory.size), (0, 0, 1, 0))

    placed = (hidden + query_pos)[:, :attending]
    update, _ = layer.self_attn(query=placed, key=placed, value=hidden[:, :attending])
    update = F.pad(layer.self_attn_dropout(update), (0, 0, 0, hidden.shape[1] - attending))
    hidden = layer.self_attn_layer_norm(hidden + update)

    update, _ = layer.text_cross_attn(
        query=hidden + query_pos, key=memory.prompt, value=memory.prompt, attention_mask=memory.prompt_mask
    )
    hidden = layer.text_cross_attn_layer_norm(hidden + layer.text_cross_attn_dropout(update))

    update, _ = layer.vision_cross_attn(
        query=hidden + query_pos, key=memory.image + memory.position, value=memory.image, attention_mask=bias
    )
    hidden = layer.vision_cross_attn_layer_norm(hidden + layer.vision_cross_attn_dropout(update))

    hidden = layer.mlp_layer_norm(hidden + layer.mlp_dropout(layer.mlp(hidden)))

    state = decoder.output_layer_norm(hidden[:, 1:])
    correction = decoder.box_head(state)
    found = (inverse_sigmoid(reference) + correction).sigmoid()
    corrected = (inverse_sigmoid(boxes) + correction).sigmoid()
    limit = decoder.clamp_presence_logit_max_val
    presence = decoder.presence_head(decoder.presence_layer_norm(hidden[:, 0])).squeeze(-1)
    return hidden, state, found, corrected, presence.clamp(-limit, limit)


def decode(decoder: Sam3DetrDecoder, memory: Memory, one_to_many: bool, run: Run) -> Decoded:
    """Run all layers with Q queries, or 2 Q (one-to-one, then one-to-many) if ``one_to_many``.

    Each layer corrects the boxes of the layer before. The next layer attends with detached boxes, but a
    layer's box output stays attached to the correction just before it, so its loss reaches two layers' box
    predictions.
    """
    batch = memory.image.shape[0]
    sets = 2 if one_to_many else 1
    queries = decoder.query_embed.weight.repeat(sets, 1).expand(batch, -1, -1)
    attended = reference = decoder.reference_points.weight.sigmoid().repeat(sets, 1).expand(batch, -1, -1)
    hidden = torch.cat([decoder.presence_token.weight.expand(batch, -1, -1), queries], dim=1)
    attending = 1 + len(decoder.query_embed.weight)

    states, boxes, presence = [], [], []
    for layer in decoder.layers:
        hidden, state, found, reference, logit = run(
            decoder_layer, decoder, layer, hidden, attended, reference, memory, attending
        )
        attended = reference.detach()
        states.append(state)
        boxes.append(found)
        presence.append(logit)
    return Decoded(torch.stack(states), torch.stack(boxes), torch.stack(presence))
