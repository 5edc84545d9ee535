"""Random weights from which SAM3 learns at all, for small models that are trained from nothing.

``transformers`` starts every layer with normal numbers of deviation 0.02. For the image and text encoders
that is the usual start; the detection part would begin with queries that are all but equal and boxes that all
lie in the centre.
"""

import torch
from torch import nn

from train.model import Sam3Graph

DETECTION = (
    "text_projection",
    "geometry_encoder",
    "detr_encoder",
    "detr_decoder",
    "dot_product_scoring",
    "mask_decoder",
)


@torch.no_grad()
def initialise_detection(model: Sam3Graph) -> None:
    """Draw the detection part anew from torch's global generator, as DETR-like models do.

    Weights of linear and convolution layers are Xavier-uniform and biases zero (Glorot and Bengio 2010),
    learned queries and tokens standard normal. Reference boxes are spread over the image with sides from 10
    to 60 % of it; the last layer that corrects boxes is zero, so that every decoder layer starts from just
    those boxes.
    """
    for part in DETECTION:
        for module in model.get_submodule(part).modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
    for layer in model.vision_encoder.neck.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)

    decoder = model.detr_decoder
    boxes = torch.rand_like(decoder.reference_points.weight)
    boxes[:, 2:] = 0.1 + 0.5 * boxes[:, 2:]
    decoder.reference_points.weight.copy_(boxes.logit(1e-3))
    nn.init.zeros_(decoder.box_head.get_parameter("layer3.weight"))
