"""What goes beside the weights of an export so that `transformers` prepares images and texts as we do.

    tokenizer.json, tokenizer_config.json     CLIP's byte-pair tokens, of which a prompt has at most 32
    processor_config.json                     of `Sam3Processor`: the side of the image, its values from -1 to 1

The image processor of `transformers` cannot be made without torchvision, so its file is written here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from transformers import CLIPTokenizer

from medshards.common.files import write_atomically
from medshards.train.data.tokenizer import CONTEXT_LENGTH, pieces
from medshards.train.model.graph import Sam3Graph

NO_BOX = -10  # the label of a box that pads a batch, so of none


def write_processor(model: Sam3Graph, folder: Path) -> None:
    """Write the files that `Sam3Processor.from_pretrained(folder)` and `AutoTokenizer.from_pretrained(folder)` load."""
    ids, merges = pieces()
    tokenizer: Any = CLIPTokenizer(vocab=ids, merges=cast(Any, merges), model_max_length=CONTEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    patch = int(model.vision_encoder.backbone.config.patch_size)
    masks = 4 * (model.image_size // patch)
    content = {
        "processor_class": "Sam3Processor",
        "image_processor": {
            "image_processor_type": "Sam3ImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": _square(model.image_size),
            "mask_size": _square(masks),
            "resample": 2,  # bilinear
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        },
        "target_size": model.image_size,
        "point_pad_value": NO_BOX,
    }
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(folder / "processor_config.json", text.encode())


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}
