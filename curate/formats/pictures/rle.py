"""Run lengths as COCO keeps masks: down the columns, background first, as numbers or as its compressed string.

A compressed number is cut into groups of five bits, the lowest first; a character is a group plus 48, plus 32 when
another one follows; the highest bit of the last group is the sign. From the fourth number on, each is the difference
to the number two places before. Reference: maskApi.c of https://github.com/cocodataset/cocoapi.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def run_lengths(mask: NDArray[Any]) -> list[int]:
    """The run lengths of a mask (H×W)."""
    flat = np.concatenate(
        [[False], mask.T.ravel().astype(bool)]
    )  # the first run is background, maybe of length 0
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff(np.concatenate([[0], starts, [mask.size]])).tolist()
    return lengths


def encode_counts(lengths: Sequence[int]) -> str:
    """COCO's compressed string of run lengths."""
    characters = []
    for place, length in enumerate(lengths):
        value = length - lengths[place - 2] if place > 2 else length
        while True:
            group = value & 31
            value >>= 5
            last = value == (-1 if group & 16 else 0)
            characters.append(chr(group + 48 + (0 if last else 32)))
            if last:
                break
    return "".join(characters)


def decode_counts(text: str) -> list[int]:
    """Run lengths from COCO's compressed string. Raises ValueError for other characters and a cut string."""
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise ValueError(f"{character!r} in compressed run lengths")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        numbers.append(value + numbers[-2] if len(numbers) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return numbers
