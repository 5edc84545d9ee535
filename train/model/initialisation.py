"""Random weights from which SAM3 learns at all, for small models that are trained from nothing.

``transformers`` starts every layer with normal numbers of deviation 0.02. The blocks of the encoders do well with that:
they begin as near identities. But small patch and position embeddings would hide from the detection part what is where,
the queries would all but equal each other, and all boxes would lie in the centre.
"""

import torch
from torch import Tensor, nn

from medshards.train.model.graph import Sam3Graph


@torch.no_grad()
def initialise(model: Sam3Graph) -> None:
    """Draw all but the blocks of the two encoders anew from torch's global generator.

    Weights of linear and convolution layers are Xavier-uniform and biases zero (Glorot and Bengio 2010), learned
    queries and tokens standard normal. Position embeddings of the image are sines and cosines, so that tokens know
    their place from the first step (He et al. 2022, "Masked autoencoders are scalable vision learners"), and 0.3 of
    them, so as not to outweigh the image. Reference boxes are spread over the image with sides from 10 to 60 % of it;
    the last layer that corrects boxes is zero, so that every decoder layer starts from just those boxes.
    """
    for name, module in model.named_modules():
        if name.startswith(("text_encoder.", "vision_encoder.backbone.layers.")):
            continue
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)

    places = model.vision_encoder.backbone.embeddings.position_embeddings
    places.copy_(0.3 * sines(int(places.shape[1] ** 0.5), places.shape[2]))

    decoder = model.detr_decoder
    boxes = torch.rand_like(decoder.reference_points.weight)
    boxes[:, 2:] = 0.1 + 0.5 * boxes[:, 2:]
    decoder.reference_points.weight.copy_(boxes.logit(1e-3))
    nn.init.zeros_(decoder.box_head.get_parameter("layer3.weight"))


def sines(side: int, channels: int) -> Tensor:
    """Position embeddings (1, side², channels): half the channels code the column, half the row."""
    frequencies = 10000 ** -torch.linspace(0, 1, channels // 4 + 1)[:-1]
    angles = torch.arange(side)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, channels / 2)
    columns, rows = line.expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)[None]
