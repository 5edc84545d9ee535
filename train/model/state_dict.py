"""Names of SAM3's tensors in the official checkpoint (``sam3.pt``) and in ``transformers``, which this
project uses.

Besides the names three things differ. Officially the queries, keys and values of an attention are one matrix
with the rows [q; k; v]; the position embeddings of the ViT have a first row for a CLS token that SAM3 never
uses; and the text projection is stored transposed.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Renames = tuple[tuple[str, str], ...]


class Family(NamedTuple):
    """All tensors under one prefix, and what changes behind it: regular expressions, each applied in turn."""

    prefix: str
    official: str
    renames: Renames = ()


_PACKED: Renames = ((r"\b[qkv]_proj\.", "in_proj_"), (r"\bo_proj\.", "out_proj."))
_LAYER: Renames = (
    (r"\bcross_attn\.", "cross_attn_image."),
    (r"\blayer_norm(\d)", r"norm\1"),
    (r"\bmlp\.fc", "linear"),
    *_PACKED,
)
_MLP: Renames = tuple((rf"\blayer{number}\.", f"layers.{number - 1}.") for number in (1, 2, 3))

# The first family whose prefix fits a name counts.
FAMILIES = (
    Family(
        "vision_encoder.backbone.",
        "backbone.vision_backbone.trunk.",
        (
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
            (r"^layer_norm\.", "ln_pre."),
            (r"^layers\.", "blocks."),
            (r"\blayer_norm(\d)", r"norm\1"),
            (r"\battention\.[qkv]_proj", "attn.qkv"),
            (r"\battention\.o_proj", "attn.proj"),
        ),
    ),
    Family(
        "vision_encoder.neck.fpn_layers.",
        "backbone.vision_backbone.convs.",
        (
            (r"^0\.scale_layers\.0", "0.dconv_2x2_0"),
            (r"^0\.scale_layers\.2", "0.dconv_2x2_1"),
            (r"^1\.scale_layers\.0", "1.dconv_2x2"),
            (r"\bproj1", "conv_1x1"),
            (r"\bproj2", "conv_3x3"),
        ),
    ),
    Family(
        "text_encoder.",
        "backbone.language_backbone.encoder.",
        (
            (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
            (r"^text_model\.embeddings\.", ""),
            (r"^text_model\.final_layer_norm", "ln_final"),
            (r"^text_projection\.weight$", "text_projection"),
            (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
            (r"\bself_attn\.", "attn."),
            (r"\blayer_norm", "ln_"),
            (r"\bmlp\.fc1", "mlp.c_fc"),
            (r"\bmlp\.fc2", "mlp.c_proj"),
            *_PACKED,
        ),
    ),
    Family("text_projection.", "backbone.language_backbone.resizer."),
    Family("geometry_encoder.layers.", "geometry_encoder.encode.", _LAYER),
    Family("geometry_encoder.prompt_layer_norm.", "geometry_encoder.norm."),
    Family("geometry_encoder.vision_layer_norm.", "geometry_encoder.img_pre_norm."),
    Family("geometry_encoder.output_layer_norm.", "geometry_encoder.encode_norm."),
    Family("geometry_encoder.", "geometry_encoder."),
    Family("detr_encoder.", "transformer.encoder.", _LAYER),
    Family(
        "detr_decoder.layers.",
        "transformer.decoder.layers.",
        (
            (r"\bself_attn_layer_norm", "norm2"),
            (r"\btext_cross_attn_layer_norm", "catext_norm"),
            (r"\bvision_cross_attn_layer_norm", "norm1"),
            (r"\bmlp_layer_norm", "norm3"),
            (r"\btext_cross_attn\.", "ca_text."),
            (r"\bvision_cross_attn\.", "cross_attn."),
            (r"\bmlp\.fc", "linear"),
            *_PACKED,
        ),
    ),
    Family(
        "detr_decoder.",
        "transformer.decoder.",
        (
            (r"^output_layer_norm", "norm"),
            (r"^box_head", "bbox_embed"),
            (r"^presence_head", "presence_token_head"),
            (r"^presence_layer_norm", "presence_token_out_norm"),
            (r"^box_rpb_embed", "boxRPB_embed"),
            *_MLP,
        ),
    ),
    Family(
        "dot_product_scoring.",
        "dot_prod_scoring.",
        (
            (r"^text_mlp_out_norm", "prompt_mlp.out_norm"),
            (r"^text_mlp", "prompt_mlp"),
            (r"^text_proj", "prompt_proj"),
            (r"^query_proj", "hs_proj"),
            *_MLP,
        ),
    ),
    Family(
        "mask_decoder.",
        "segmentation_head.",
        (
            (r"^mask_embedder", "mask_predictor.mask_embed"),
            (r"^instance_projection", "instance_seg_head"),
            (r"^semantic_projection", "semantic_seg_head"),
            (r"^prompt_cross_attn\.", "cross_attend_prompt."),
            (r"^prompt_cross_attn_norm", "cross_attn_norm"),
            *_PACKED,
        ),
    ),
)

# Official tensors with no place here: point prompts, the video tracker and its neck, tables of rotary angles.
UNUSED = re.compile(
    r"tracker\.|geometry_encoder\.points_|backbone\.vision_backbone\.sam2_convs\.|.*\.attn\.freqs_cis$"
)
DETECTOR = "detector."
_POSITIONS = "backbone.vision_backbone.trunk.pos_embed"
_TEXT_PROJECTION = "backbone.language_backbone.encoder.text_projection"


def official_name(name: str) -> tuple[str, int | None]:
    """Official name of a tensor, without ``detector.``, and which third of that tensor it is: 0 q, 1 k, 2 v,
    None all.

    Raises KeyError if ``name`` is not a tensor of ``Sam3Model``.
    """
    for family in FAMILIES:
        if name.startswith(family.prefix):
            rest = name.removeprefix(family.prefix)
            for pattern, replacement in family.renames:
                rest = re.sub(pattern, replacement, rest)
            third = re.search(r"\.([qkv])_proj\.", name)
            return family.official + rest, "qkv".index(third.group(1)) if third else None
    raise KeyError(f"{name} has no official name")


def from_official(official: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of an official checkpoint under the given ``transformers`` names.

    A name whose tensor the checkpoint lacks is left out. A tensor that no name asks for keeps its official
    name, unless it belongs to a part that is not used here (``UNUSED``). So a strict comparison of names
    afterwards finds both.
    """
    left = {name.removeprefix(DETECTOR): tensor for name, tensor in official.items()}
    tensors, taken = {}, set()
    for name in names:
        source, third = official_name(name)
        if source not in left:
            continue
        taken.add(source)
        tensor = left[source]
        if source == _POSITIONS:
            tensor = tensor[:, 1:]
        elif source == _TEXT_PROJECTION:
            tensor = tensor.T
        tensors[name] = tensor if third is None else tensor.tensor_split(3)[third]
    unexpected = {name: left[name] for name in left.keys() - taken if not UNUSED.match(name)}
    return tensors | unexpected


def to_official(state: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The exact inverse: tensors under official names, with the prefix ``detector.``, as in the released
    file.

    ``base`` is another official checkpoint, from which everything is taken that this model does not have: the
    tracker, point prompts, the CLS row of the position embeddings. Without it that row is zero and the others
    are absent.
    """
    official = dict(base or {})
    thirds: dict[str, list[Tensor]] = {}
    for name, tensor in state.items():
        target, third = official_name(name)
        target = DETECTOR + target
        if third is not None:  # q, k and v, in whatever order they come
            thirds.setdefault(target, [tensor] * 3)[third] = tensor
        elif target == DETECTOR + _POSITIONS:
            unused = official[target][:, :1] if target in official else torch.zeros_like(tensor[:, :1])
            official[target] = torch.cat([unused.to(tensor), tensor], dim=1)
        elif target == DETECTOR + _TEXT_PROJECTION:
            official[target] = tensor.T.contiguous()
        else:
            official[target] = tensor
    return official | {name: torch.cat(parts) for name, parts in thirds.items()}
