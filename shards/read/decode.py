"""From the bytes of a sample to pixels and masks, at their own size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.common.window import Windows, shown
from medshards.curate.formats.pictures import jpeg, png
from medshards.shards.read.corpus import BadSample, Raw


@dataclass(frozen=True, eq=False)
class Stored:
    """A sample read back from a shard.

    image: uint8 H×W or H×W×3 (RGB), or uint16 H×W. planes: id maps H×W. record: KEY.json.
    """

    image: NDArray[Any]
    planes: tuple[NDArray[Any], ...]
    record: dict[str, Any]

    def mask(self, instance: Mapping[str, Any]) -> NDArray[np.bool_]:
        """The bool H×W mask of an entry of record["instances"]."""
        mask: NDArray[np.bool_] = self.planes[instance["plane"]] == instance["id"]
        return mask


def decode(raw: Raw, windows: Windows | None = None) -> Stored:
    """A sample at its own size, numbers of a volume as `windows` show them. Raises BadSample."""
    return Stored(decode_image(raw, windows), tuple(decode_planes(raw)), raw.record)


def decode_image(raw: Raw, windows: Windows | None = None, side: int | None = None) -> NDArray[np.uint8]:
    """The image, uint8 H×W or H×W×3; numbers of a volume as `windows` show them. Raises BadSample.

    side: px that are enough; a JPEG of twice that or more comes at a smaller scale, see `jpeg.decode_small`.
    """
    size = raw.record["size"]
    small = raw.extension == "jpg" and side is not None and min(size) >= 2 * side
    try:
        if small and side is not None:
            pixels, found = jpeg.decode_small(raw.image, side), jpeg.size(raw.image)
        else:
            pixels = jpeg.decode(raw.image, 3) if raw.extension == "jpg" else png.decode(raw.image)
            found = (pixels.shape[0], pixels.shape[1])
    except ValueError as error:
        raise BadSample(f"{raw.name}: its image cannot be decoded: {error}") from error
    if list(found) != size:
        raise BadSample(f"{raw.name}: its image has {found} px, its record {size}")
    return shown(pixels, raw.record, windows)


def decode_planes(raw: Raw) -> list[NDArray[Any]]:
    """The maps of instance ids (H, W), one a plane. Raises BadSample."""
    try:
        planes = [png.decode(data) for data in raw.planes]
    except ValueError as error:
        raise BadSample(f"{raw.name}: its mask cannot be decoded: {error}") from error
    for plane in planes:
        if list(plane.shape) != raw.record["size"]:
            raise BadSample(f"{raw.name}: its mask has {plane.shape} px, its record {raw.record['size']}")
    return planes
