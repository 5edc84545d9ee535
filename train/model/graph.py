"""SAM3 as a training graph: text prompts in, the outputs of every decoder layer out.

``Sam3Graph`` is ``transformers``' ``Sam3Model`` with another ``forward``: same modules, same parameter names,
same weights. ``Sam3Model.forward`` differs from the graph that SAM3 was trained with in three ways. It
returns the last decoder layer only; it knows no one-to-many queries; and it leaves out, when no box is given,
the geometry encoder's CLS token, which the original always appends to the text tokens, in training and in
inference.

(Carion et al. 2025, "SAM 3: segment anything with concepts", and Meta's public training code.)
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Sam3Config, Sam3Model
from transformers.modeling_layers import GradientCheckpointingLayer

from medshards.train.model.decoder import Memory, decode
from medshards.train.model.outputs import Outputs

# Parameters that text prompts never reach: the coarsest pyramid level, the pooled text vector, boxes as
# prompts, and the third stage of the pixel decoder, which has three levels and so two stages. Without
# gradient they need no search for unused parameters under DDP, and weight decay cannot erode them.
UNTRAINED = re.compile(
    r"vision_encoder\.neck\.fpn_layers\.3\."
    r"|text_encoder\.text_projection\."
    r"|geometry_encoder\.(label_embed|boxes_direct_project|boxes_pool_project|boxes_pos_enc_project|vision_layer_norm)\."
    r"|mask_decoder\.pixel_decoder\.(conv_layers|norms)\.2\."
)


class Sam3Graph(Sam3Model):  # type: ignore[misc]
    """SAM3 prompted by text, with everything its objective needs.

    Symbols of the shapes: I images and T texts of the batch, B prompts (pairs of an image and a text), L
    decoder layers, Q queries, D channels, P = 33 prompt tokens, H×W the network input, h×w = 4 H/patch × 4
    W/patch the masks.
    """

    def __init__(self, config: Sam3Config) -> None:
        super().__init__(config)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(UNTRAINED.match(name) is None)
        self.checkpointing = False
        self.compiled: dict[Callable[..., Any], Callable[..., Any]] = {}
        """Functions of the graph that are not modules, compiled; see train/speed/regions.py."""

    @property
    def image_size(self) -> int:
        """Side of the square network input, in pixels."""
        return int(self.vision_encoder.backbone.config.image_size)

    def checkpoint_activations(self, level: str = "all") -> None:
        """Keep only the inputs of blocks in training and compute them again in the backward pass.

        ``all``: every ViT, text, fusion, geometry and decoder layer and the mask head; ``vision:k``: every k-th ViT
        layer; ``off``: none. Gradients stay the same.
        """
        self.checkpointing = level == "all"
        kind, _, step = level.partition(":")
        every = set(self.vision_encoder.backbone.layers[:: int(step)]) if kind == "vision" else set()
        for module in self.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
                module.gradient_checkpointing = self.checkpointing or module in every

    def forward(
        self, pixel_values: Tensor, img_id: Tensor, input_ids: Tensor, attention_mask: Tensor, text_id: Tensor
    ) -> Outputs:
        """Predict the instances of each prompt; in training mode with the one-to-many set, in evaluation
        without.

        ``pixel_values`` (I, 3, H, W) normalised images; ``input_ids`` (T, 32) int64 and ``attention_mask``
        (T, 32), nonzero = real token; ``img_id`` and ``text_id`` (B,) int64: prompt b asks image
        ``img_id[b]`` for text ``text_id[b]``. Images and texts are encoded once, however many prompts use
        them.

        Logits, boxes and presence are float32; masks have the precision of the forward pass (bfloat16 under
        autocast).
        """
        levels, position = self.encode_images(pixel_values)
        # Without its mask: the encoder is causal, so that no token sees the padding behind it, and with a mask the
        # library waits for the device to see whether all of it is true.
        text = self.get_text_features(input_ids, None).pooler_output[text_id]
        coarsest = levels[-1][img_id].flatten(2).transpose(1, 2)
        prompt = torch.cat([text, self.geometry_token(coarsest, position)], dim=1)
        mask = torch.cat(
            [attention_mask.bool()[text_id], attention_mask.new_ones(len(text_id), 1).bool()], dim=1
        )

        fused = coarsest
        for layer in self.detr_encoder.layers:
            fused = self._run(layer, fused, prompt, position, mask[:, None, None])
        height, width = levels[-1].shape[-2:]
        memory = Memory(fused, position, (height, width), prompt, mask[:, None, None])
        hidden, boxes, presence = decode(self.detr_decoder, memory, self.training, self._run)
        logits = self.dot_product_scoring(hidden, prompt, mask).squeeze(-1).float()
        masks, semantic = self._run(
            self.segment, hidden[-1], levels, img_id, fused, prompt, memory.prompt_mask
        )

        q = self.detr_decoder.config.num_queries
        o2m = self.training
        # One split has one backward pass; two slices would each fill a gradient for all queries with zeros.
        masks_o2o, masks_o2m = masks.split(q, dim=1) if o2m else (masks, None)
        return Outputs(
            logits=logits[:, :, :q],
            boxes=boxes[:, :, :q],
            presence=presence.float(),
            logits_o2m=logits[:, :, q:] if o2m else None,
            boxes_o2m=boxes[:, :, q:] if o2m else None,
            masks=masks_o2o,
            masks_o2m=masks_o2m,
            semantic=semantic.squeeze(1),
        )

    def encode_images(self, pixel_values: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features at mask resolution, half and a quarter of it; position of the last (1, S, D)."""
        vision = self.vision_encoder(pixel_values)
        position = vision.fpn_position_encoding[-2][:1]  # the same for every image
        return list(vision.fpn_hidden_states[:-1]), position.flatten(2).transpose(1, 2)

    def geometry_token(self, image: Tensor, position: Tensor) -> Tensor:
        """The geometry encoder's CLS token (B, 1, D) without any box; it has seen the image (B, S, D)."""
        encoder = self.geometry_encoder
        token: Tensor = encoder.cls_embed.weight.expand(len(image), 1, -1)
        token = encoder.prompt_layer_norm(encoder.final_proj(token))
        for layer in encoder.layers:
            token = self._run(layer, token, image, position, None)
        out: Tensor = encoder.output_layer_norm(token)
        return out

    def segment(
        self,
        queries: Tensor,
        levels: list[Tensor],
        img_id: Tensor,
        fused: Tensor,
        prompt: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (B, N, h, w) of all queries and the semantic logits (B, 1, h, w).

        ``mask`` (B, 1, 1, P): four dimensions, or the library would wait for the device to look at it. The fine
        levels are gathered per prompt in here, so that checkpointing does not keep a copy for each prompt.
        """
        output = self.mask_decoder(
            decoder_queries=queries,
            backbone_features=[level[img_id] for level in levels],
            encoder_hidden_states=fused,
            prompt_features=prompt,
            prompt_mask=mask,
        )
        return output.pred_masks, output.semantic_seg

    def _run(self, block: Any, *inputs: Any) -> Any:
        block = self.compiled.get(block, block)
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


def set_drop_path(model: Sam3Graph, rate: float) -> None:
    """Stochastic depth in the image encoder: in training, drop a block's attention or MLP for some of the
    images.

    The probability grows linearly from 0 in the first block to ``rate`` in the last; what is kept is scaled
    up. (Huang et al. 2016, "Deep networks with stochastic depth".) Call once on a model.
    """
    config = model.vision_encoder.backbone.config
    side = config.image_size // config.patch_size
    layers = model.vision_encoder.backbone.layers
    for layer, probability in zip(layers, torch.linspace(0, rate, len(layers)).tolist()):
        windows = (-(-side // layer.window_size)) ** 2 if layer.window_size else 1
        layer.attention.register_forward_hook(partial(_drop_path, probability, windows))
        layer.mlp.register_forward_hook(partial(_drop_path, probability, 1))


def _drop_path(probability: float, windows: int, module: nn.Module, inputs: Any, output: Any) -> Any:
    """Forward hook: zero the output for some images; ``windows`` rows in a row belong to one image."""
    if not module.training or probability == 0:
        return output
    if isinstance(output, tuple):  # attention also returns its weights
        return _drop_path(probability, windows, module, inputs, output[0]), *output[1:]
    keep = torch.rand(len(output) // windows, device=output.device) >= probability
    scale = (keep / (1 - probability)).to(output.dtype).repeat_interleave(windows)
    return output * scale.view(-1, *[1] * (output.ndim - 1))
