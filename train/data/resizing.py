"""Images and masks at the side of the network input, and the boxes of masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medshards.curate.sample import Region

LARGE = 3  # from this part of an image on (a third) a mask is resized with all of it


def resize_image(pixels: NDArray[np.uint8], side: int, out: Tensor | None = None) -> Tensor:
    """uint8 H×W or H×W×3 to (3, side, side).

    out: (3, S, S) uint8, which is written and returned; where S is larger, the image is in its upper left corner and
    the rest black.
    """
    grey = pixels.ndim == 2
    image = torch.from_numpy(np.ascontiguousarray(pixels))
    image = (image[None] if grey else image.permute(2, 0, 1))[None]
    if out is None:
        out = torch.empty(3, side, side, dtype=torch.uint8)
    if out.shape[-1] != side:
        out.zero_()[:, :side, :side] = _resize(image, side)[0]
        return out
    # what F.interpolate calls, which itself cannot write into a tensor that is there
    channels = out[None, : image.shape[1]]
    torch.ops.aten._upsample_bilinear2d_aa.out(image, [side, side], False, out=channels)
    if grey:
        out[1:] = out[0]
    return out


def resize_masks(regions: Sequence[Region], size: tuple[int, int], side: int) -> NDArray[np.bool_]:
    """n masks of an image of ``size`` (H, W) to bool (n, side, side), as `_resize` makes them of 0 and 255.

    Of a small mask only the part around it is computed: most instances are small, and there can be many.
    """
    out = np.zeros((len(regions), side, side), bool)
    for target, region in zip(out, regions):
        if region.crop.size * LARGE > size[0] * size[1]:
            whole = torch.from_numpy(region.mask(size).view(np.uint8) * np.uint8(255))
            target[:] = (_resize(whole[None, None], side)[0, 0] > 127).numpy()
        elif region.crop.size:
            columns, crop = _resize_rows(region.crop.T, region.left, _taps(size[1], side), 255)
            rows, crop = _resize_rows(crop.T, region.top, _taps(size[0], side), 1)
            target[rows, columns] = crop > 127
    return out


class _Taps(NamedTuple):
    """Which rows make a row of the output: the first of each, their weights (side, k), of which 1 << bits make one."""

    first: NDArray[np.int64]
    weights: NDArray[np.int32]
    bits: int


@lru_cache(maxsize=256)
def _taps(size: int, side: int) -> _Taps:
    """Triangle filter with antialiasing, in the whole numbers that torch computes bytes with.

    Source: HelperInterpLinear and _compute_index_ranges_int16_weights of torch's UpSampleKernel.cpp.
    """
    scale = size / side
    reach = max(scale, 1.0)
    centres = scale * (np.arange(side) + 0.5)
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + reach + 0.5).astype(np.int64), size)
    places = first[:, None] + np.arange((end - first).max())
    weights = np.maximum(1 - np.abs((places - centres[:, None] + 0.5) / reach), 0) * (places < end[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    bits = next(b for b in range(23) if b == 22 or int(0.5 + weights.max() * (1 << (b + 1))) >= 1 << 15)
    return _Taps(first, (0.5 + weights * (1 << bits)).astype(np.int32), bits)


def _resize_rows(
    crop: NDArray[np.generic], at: int, taps: _Taps, unit: int
) -> tuple[slice, NDArray[np.uint8]]:
    """Resize rows ``at`` and after, outside of which nothing is; values times ``unit`` are bytes.

    Returns the rows of the output that they reach, and what is there.
    """
    count = taps.weights.shape[1]
    start = int(np.searchsorted(taps.first, at - count, side="right"))
    end = int(np.searchsorted(taps.first, at + len(crop)))
    padded = np.zeros((len(crop) + 2 * count, crop.shape[1]), np.int32)
    padded[count:-count] = crop
    total = np.full((end - start, crop.shape[1]), 1 << (taps.bits - 1), np.int32)
    for tap in range(count):
        rows = padded[taps.first[start:end] + (tap + count - at)]
        rows *= taps.weights[start:end, tap, None] * unit
        total += rows
    return slice(start, end), np.clip(total >> taps.bits, 0, 255).astype(np.uint8)


def _resize(image: Tensor, side: int) -> Tensor:
    return F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def pack(masks: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """Masks (n, h, h) as bits in the upper left corner of (n, side, ceil(side / 8)), first pixel highest."""
    bits = np.packbits(masks, axis=-1)
    lacking = side - bits.shape[1], -(-side // 8) - bits.shape[2]
    return np.pad(bits, ((0, 0), (0, lacking[0]), (0, lacking[1]))) if any(lacking) else bits


def boxes_of(bits: NDArray[np.uint8], side: int) -> Tensor:
    """The tight boxes (n, 4) of non-empty masks as `pack` gives them: (cx, cy, w, h) divided by ``side``, float32.

    A box ends after its last pixel, so a mask of one pixel has a box of one pixel.
    """
    boxes = np.zeros((len(bits), 4), np.float32)
    for place, mask in enumerate(bits):
        _, top, _, height = cv2.boundingRect(mask)
        bottom = top + height
        columns = np.flatnonzero(np.unpackbits(np.bitwise_or.reduce(mask[top:bottom], axis=0)))
        left, right = columns[0], columns[-1] + 1
        boxes[place] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return torch.from_numpy(boxes / side)
