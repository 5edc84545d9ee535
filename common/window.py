"""From stored numbers to the grey values that a model or a person sees.

A 16-bit slice keeps its numbers (value = stored · slope + intercept, in the record's unit); what is seen of them is
decided on reading: `shown(pixels, record)` takes the record's own display window, `windows=` another one by unit,
`random_window` a varied one for training. Ordinary 8-bit images pass through unchanged, so callers need not ask.

    pixels = png.decode(raw.image)
    grey = shown(pixels, raw.record)                                # as the record says
    grey = shown(pixels, raw.record, parse_windows(["HU=-1000:400"]))   # `--window HU=-1000:400`
    grey = shown(pixels, raw.record, random_window(raw.record, 0.2, u, v))   # u, v in [0, 1): two random numbers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, float]
Windows = Mapping[str, Window]  # (low, high) by unit of the record

UNITS = {"hu": "HU", "suv": "SUVbw g/ml", "bq/ml": "Bq/ml", "arbitrary": "arbitrary"}  # as typed → in records


def values(pixels: NDArray[Any], record: Mapping[str, Any]) -> NDArray[np.float32]:
    """The numbers of an image in its unit, float32 H×W. Raises ValueError when the record gives no intensity."""
    intensity = record.get("intensity")
    if intensity is None:
        raise ValueError(f"{record.get('key')}: its record does not say what its numbers mean")
    numbers: NDArray[np.float32] = (pixels * np.float64(intensity["slope"]) + intensity["intercept"]).astype(
        np.float32
    )
    return numbers


def shown(
    pixels: NDArray[Any], record: Mapping[str, Any], windows: Windows | None = None
) -> NDArray[np.uint8]:
    """An image as uint8, H×W or H×W×3: below the window 0, above it 255, linear between.

    windows: in place of the record's own window, for the units named in it. 8-bit images stay as they are; 16-bit
    ones without intensity keep their upper eight bits.
    """
    if pixels.dtype == np.uint8:
        return pixels
    intensity = record.get("intensity")
    if intensity is None:
        return (pixels >> 8).astype(np.uint8)
    low, high = (windows or {}).get(intensity["unit"], intensity["window"])
    scale = 255 / max(high - low, 1e-6)
    grey = pixels * np.float32(intensity["slope"] * scale) + np.float32(
        (intensity["intercept"] - low) * scale
    )
    return np.asarray(np.clip(np.rint(grey), 0, 255), np.uint8)


def parse_windows(texts: Iterable[str]) -> dict[str, Window]:
    """Windows by unit from texts like "HU=-160:240" or "SUV=0:10". Raises ValueError with what was expected."""
    found = {}
    for text in texts:
        unit, _, ends = text.partition("=")
        low, _, high = ends.partition(":")
        try:
            found[UNITS[unit.strip().lower()]] = window = float(low), float(high)
        except (KeyError, ValueError):
            raise ValueError(
                f"{text!r} is no window; expected UNIT=LOW:HIGH, e.g. HU=-160:240 or SUV=0:10"
            ) from None
        if not window[0] < window[1] or not np.isfinite(window).all():
            raise ValueError(f"{text!r}: the lower end of a window must be below its upper end")
    return found


def random_window(record: Mapping[str, Any], spread: float, first: float, second: float) -> dict[str, Window]:
    """The record's window with its width and centre varied by up to `spread` (0.2: a fifth); {} without intensity.

    first, second: random numbers in [0, 1). The width is multiplied by a factor between 1 / (1 + spread) and
    1 + spread, the centre moved by up to `spread` half-widths either way.
    """
    intensity = record.get("intensity")
    if intensity is None:
        return {}
    low, high = intensity["window"]
    half = (high - low) / 2
    centre = (low + high) / 2 + half * spread * (2 * second - 1)
    half *= (1 + spread) ** (2 * first - 1)
    return {intensity["unit"]: (centre - half, centre + half)}
