"""What a page shows of one sample: its picture, a small one for the grid, outlines of its instances, its numbers."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.pictures import png
from medshards.shards.read.corpus import Raw
from medshards.shards.read.decode import decode_image, decode_planes
from medshards.shards.view.drawing import fitted

SMALL = (320, 240)  # box that the picture in the grid fits into
FINE = 800  # an outline is true to this part of the picture's longer side
NUMBERS = 512  # longest side of a slice whose numbers are sent
QUALITY = 82  # JPEG


def small_picture(raw: Raw) -> bytes:
    """A JPEG for the grid. Raises BadSample."""
    pixels = decode_image(raw, side=SMALL[0])
    size = fitted(pixels.shape, SMALL)
    return _jpeg(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8))


def picture(raw: Raw) -> tuple[bytes, str]:
    """The picture as a browser can show it, and its type: the stored file where it has 8 bits, else through its
    window. Raises BadSample."""
    if raw.record.get("intensity") is None:
        return raw.image, "image/jpeg" if raw.extension == "jpg" else "image/png"
    return _jpeg(decode_image(raw)), "image/jpeg"


def outlines(raw: Raw) -> list[dict[str, Any]]:
    """Of each instance its id, names, area (px), and its outline as an SVG path in px of the picture. Raises
    BadSample."""
    planes = decode_planes(raw)
    tolerance = max(raw.record["size"]) / FINE
    found = []
    for instance in raw.record["instances"]:
        x, y, width, height = instance["bbox"]
        mask = planes[instance["plane"]][y : y + height, x : x + width] == instance["id"]
        facts = {name: instance[name] for name in ("id", "concept", "text", "label", "area")}
        found.append({**facts, "path": _path(mask, x, y, tolerance)})
    return found


def numbers(raw: Raw) -> dict[str, Any] | None:
    """The stored 16-bit numbers of a slice, every `step`-th along both axes, and what they mean; None of a picture."""
    intensity = raw.record.get("intensity")
    if intensity is None:
        return None
    pixels = png.decode(raw.image)
    step = -(-max(pixels.shape) // NUMBERS)
    shown = np.ascontiguousarray(pixels[::step, ::step].astype("<u2"))
    data = base64.b64encode(shown.tobytes()).decode()
    return {"height": shown.shape[0], "width": shown.shape[1], "step": step, "data": data, **intensity}


def _path(mask: NDArray[np.bool_], x: int, y: int, tolerance: float) -> str:
    """Closed outlines of a mask and of its holes, through the centres of border pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for contour in contours:
        corners = cv2.approxPolyDP(contour, tolerance, True)[:, 0] + (x, y)
        parts.append("M" + "L".join(f"{a + 0.5:g} {b + 0.5:g}" for a, b in corners.tolist()) + "Z")
    return "".join(parts)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    bgr = pixels if pixels.ndim == 2 else pixels[:, :, ::-1]
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()
