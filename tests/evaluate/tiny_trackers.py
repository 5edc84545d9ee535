"""SAM3's trackers of transformers, tiny and with random weights."""

from __future__ import annotations

from typing import Any

import torch

SIDE, PATCH = 112, 14  # px
GRID = SIDE // PATCH
FEATURES = [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2]


def tiny_tracker() -> Any:
    """The tracker for single images."""
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    return Sam3TrackerModel(Sam3TrackerConfig(**_parts(32)))


def tiny_video_tracker(seed: int = 0, *, sees: bool = True) -> Any:
    """The tracker for videos; sees: whether it takes the object for visible, on every frame or on none."""
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel, Sam3VisionConfig

    width = 128
    config = Sam3TrackerVideoConfig(
        **_parts(width),
        memory_attention_hidden_size=width,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_num_layers=1,
        memory_attention_rope_feat_sizes=[GRID, GRID],
        memory_encoder_hidden_size=width,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=64,
    )
    config.image_size = SIDE  # its constructor sets both back to those of 1008 px
    assert isinstance(config.vision_config, Sam3VisionConfig)
    config.vision_config.backbone_feature_sizes = FEATURES
    torch.manual_seed(seed)
    model = Sam3TrackerVideoModel(config)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(100.0 if sees else -100.0)
    return model


def _parts(width: int) -> dict[str, Any]:
    return {
        "vision_config": {
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": SIDE,
                "pretrain_image_size": SIDE,
                "patch_size": PATCH,
                "window_size": 4,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": width,
            "backbone_feature_sizes": FEATURES,
        },
        "prompt_encoder_config": {
            "hidden_size": width,
            "image_size": SIDE,
            "patch_size": PATCH,
            "mask_input_channels": 8,
        },
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    }
