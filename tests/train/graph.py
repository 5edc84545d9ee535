"""Builds the small models of the tests, and reads the reference graphs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Sam3Config

from medshards.train.data.tokenizer import tokenize
from medshards.train.model.graph import Sam3Graph
from medshards.train.model.options import Regularisation
from medshards.train.model.weights import build_model, load_tensors
from tests.train.cases import load


@dataclass
class Reference:
    """One folder with weights, inputs and what the official code computes from them."""

    model: Sam3Graph
    arrays: dict[str, torch.Tensor]
    expected: dict[str, Any]

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        names = ("pixel_values", "img_ids", "input_ids", "attention_mask", "text_ids")
        return tuple(self.arrays[name] for name in names)


def references(golden: Path) -> Iterator[Reference]:
    folders = sorted(path.parent for path in golden.rglob("weights.npz"))
    assert folders, f"no reference graph under {golden}"
    for folder in folders:
        expected = json.loads((folder / "expected.json").read_text())
        model = Sam3Graph(config(expected["config"]))
        load_tensors(model, load(folder / "weights.npz"), str(folder))
        yield Reference(model, load(folder / "io.npz"), expected)


def config(sizes: dict[str, Any]) -> Sam3Config:
    """The architecture that ``expected.json`` describes."""
    common = {"hidden_size": sizes["d_model"], "num_attention_heads": sizes["heads"]}
    layers = common | {"intermediate_size": sizes["ffn"], "dropout": sizes["dropout"]}
    return Sam3Config(
        vision_config={
            "fpn_hidden_size": sizes["d_model"],
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "image_size": sizes["image_size"],
                "pretrain_image_size": sizes["pretrain_image_size"],
                "patch_size": sizes["patch_size"],
                "hidden_size": sizes["vit_hidden"],
                "intermediate_size": sizes["vit_mlp"],
                "num_hidden_layers": sizes["vit_layers"],
                "num_attention_heads": sizes["vit_heads"],
                "window_size": sizes["window"],
                "global_attn_indexes": sizes["global_layers"],
                "layer_norm_eps": sizes["vit_layer_norm_eps"],
            },
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": sizes["vocab"],
            "bos_token_id": sizes["vocab"] - 2,
            "eos_token_id": sizes["vocab"] - 1,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
            "hidden_size": sizes["text_hidden"],
            "intermediate_size": sizes["text_mlp"],
            "num_hidden_layers": sizes["text_layers"],
            "num_attention_heads": sizes["text_heads"],
            "projection_dim": sizes["text_projection_dim"],
        },
        geometry_encoder_config=layers | {"num_layers": sizes["geometry_layers"]},
        detr_encoder_config=layers | {"num_layers": sizes["encoder_layers"]},
        detr_decoder_config=layers | {"num_layers": sizes["decoder_layers"], "num_queries": sizes["queries"]},
        mask_decoder_config=common,
    )


NO_DROPOUT = Regularisation(dropout=0, hidden_dropout=0)


def tiny(**options: Any) -> Sam3Graph:
    return build_model(preset="tiny", **options)


def tiny_inputs(images: int = 2, side: int = 112) -> tuple[torch.Tensor, ...]:
    """Two images, two texts, four prompts."""
    pixels = torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ids, mask = tokenize(["polyp", "left lung"])
    return pixels, torch.arange(2).repeat_interleave(2), ids, mask, torch.tensor([0, 1, 0, 1])
