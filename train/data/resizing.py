"""Images and masks at the side of the network input, and the boxes of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def resize_image(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """uint8 H×W or H×W×3 to (3, side, side)."""
    grey = pixels.ndim == 2
    image = torch.from_numpy(np.ascontiguousarray(pixels))
    image = (image[None] if grey else image.permute(2, 0, 1))[None]
    return _resize(image, side, side)[0].expand(3, -1, -1).contiguous()


def resize_masks(masks: Sequence[NDArray[np.bool_]], side: int) -> NDArray[np.bool_]:
    """n masks H×W to bool (n, side, side).

    Only the part around the mask is resized: most instances are small, and there can be many.
    """
    out = np.zeros((len(masks), side, side), bool)
    for place, mask in enumerate(masks):
        rows, columns = (_around(np.any(mask, axis=axis), side) for axis in (1, 0))
        if rows is None or columns is None:
            continue
        part = torch.from_numpy(mask[rows[0], columns[0]].view(np.uint8) * np.uint8(255))
        target = out[place, rows[1], columns[1]]
        target[:] = (_resize(part[None, None], *target.shape)[0, 0] > 127).numpy()
    return out


def _around(occupied: NDArray[np.bool_], side: int) -> tuple[slice, slice] | None:
    """The part of an axis, before and after resizing to ``side``, outside of which nothing is; None if empty.

    Resizing n pixels to m repeats itself every n / gcd pixels, so a part that begins and ends at such a place
    is resized by itself as it is within the whole. Its margin is twice the reach of the filter.
    """
    places = np.flatnonzero(occupied)
    if not len(places):
        return None
    size = len(occupied)
    periods = math.gcd(size, side)
    before, after = size // periods, side // periods
    margin = 2 * max(1.0, size / side) + 1
    first = max(0, math.floor((places[0] - margin) / before))
    end = min(periods, math.ceil((places[-1] + 1 + margin) / before))
    return slice(first * before, end * before), slice(first * after, end * after)


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def boxes_of(masks: NDArray[np.bool_], side: int) -> Tensor:
    """The tight boxes (n, 4) of non-empty masks (n, h, w): (cx, cy, w, h) divided by ``side``, float32.

    A box ends after its last pixel, so a mask of one pixel has a box of one pixel.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for place, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        boxes[place] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return torch.from_numpy(boxes / side)


def pad(masks: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Masks (n, h, h) in the upper left corner of (n, side, side)."""
    lacking = side - masks.shape[-1]
    return np.pad(masks, ((0, 0), (0, lacking), (0, lacking))) if lacking else masks
