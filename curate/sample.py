"""The one data model between downloads and shards: `Sample` and its `Instance`s.

A converter hands on `Sample`s and nothing else; a sample that cannot be trusted is a `Reject`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medshards.common.text import printable

MAX_KEY = 80  # a ustar name holds 100 bytes; the longest suffix is ".mask99.png"


class Reject(Exception):
    """A sample (or a whole download) that cannot be trusted, with a reason code.

    code: short snake_case reason, stable, for counting (`size_mismatch`, `lfs_pointer`, …).
    message: for a person: what was expected, what was found, what to do. No patient identity.
    file: relative path of the offending file, where one file is to blame.
    also: further files that are refused with it, such as the mask of an image.
    """

    def __init__(self, code: str, message: str, file: str = "", also: tuple[str, ...] = ()) -> None:
        super().__init__(code, message, file, also)
        self.code = code
        self.message = message
        self.file = file
        self.also = also

    def __str__(self) -> str:
        where = f"{printable(self.file)}: " if self.file else ""
        return f"{where}{self.code}: {printable(self.message)}"


def make_key(name: str) -> str:
    """A sample key from a native name: only [A-Za-z0-9_-], at most 80 characters, distinct for distinct names.

    WebDataset ends a key at the first dot, and tar names should be plain ASCII. A name that has to
    change gets the first eight hex digits of its SHA-256, so two names never meet in one key.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    if plain == name and 0 < len(name) <= MAX_KEY:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{plain.strip('_')[: MAX_KEY - 9]}-{digest}"


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image and, where the file's own bytes may be kept, those bytes.

    pixels: uint8 H×W (grey) or H×W×3 (RGB); uint16 H×W for slices that keep their numbers.
    encoded, extension: bytes of an 8-bit grey or RGB JPEG ("jpg") or PNG ("png") that decode to `pixels`;
        None when the image has to be stored as a new lossless PNG.
    intensity: what the numbers of a 16-bit picture mean, where its reader knows it.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    encoded: bytes | None = None
    extension: str = "png"
    intensity: Intensity | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


@dataclass(frozen=True, eq=False)
class Region:
    """A set of pixels of an image, kept as the part of the mask inside its tight bounding box.

    crop: bool h×w, at least one True in its first and last row and column (or 0×0 when empty).
    top, left: position of the crop's first pixel in the image.
    """

    crop: NDArray[np.bool_]
    top: int
    left: int
    area: int  # px

    @classmethod
    def of(cls, mask: NDArray[Any], top: int = 0, left: int = 0) -> Region:
        """The region of the non-zero pixels of `mask` (H×W), whose first pixel lies at (top, left)."""
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return cls(np.zeros((0, 0), bool), top, left, 0)
        band = mask[rows[0] : rows[-1] + 1]
        columns = np.flatnonzero(band.any(axis=0))
        crop = np.ascontiguousarray(band[:, columns[0] : columns[-1] + 1]).astype(bool)
        return cls(crop, top + int(rows[0]), left + int(columns[0]), int(np.count_nonzero(crop)))

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) in px, the box of COCO."""
        return self.left, self.top, self.crop.shape[1], self.crop.shape[0]

    def window(self) -> tuple[slice, slice]:
        """Index of the bounding box in an H×W array."""
        return (
            slice(self.top, self.top + self.crop.shape[0]),
            slice(self.left, self.left + self.crop.shape[1]),
        )

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The full bool H×W mask in an image of `size` (height, width)."""
        full = np.zeros(size, bool)
        full[self.window()] = self.crop
        return full


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of a concept.

    concept: id in the vocabulary.
    region: its pixels.
    label: native label it comes from, as the dataset's label file spells it.
    native_id: id of the object in the data, where the data has ids.
    """

    concept: str
    region: Region
    label: str
    native_id: int | None = None

    @property
    def area(self) -> int:
        """Area in px."""
        return self.region.area


@dataclass(frozen=True)
class SlicePosition:
    """Where a slice lies in its volume (or a frame in its clip)."""

    volume: str  # id of the volume, unique in the dataset
    index: int  # slice number in the volume, from 0
    count: int  # number of slices of the volume


@dataclass(frozen=True)
class Intensity:
    """What the stored numbers of a 16-bit image mean: value = stored · slope + intercept.

    unit: "HU", "SUVbw g/ml", "Bq/ml" or "arbitrary".
    window: (low, high) in that unit, the values that are shown black and white unless a reader chooses otherwise.
    """

    slope: float
    intercept: float
    unit: str
    window: tuple[float, float]


@dataclass(eq=False)
class Sample:
    """One image with its instances, ready to be stored.

    key: unique in the dataset, made by `make_key`.
    group: samples with the same group never stand on both sides of a split (patient, video, volume …).
    official_split: the split the dataset's authors put it in, if any.
    spacing: (row, column) distance of pixels in mm, where known.
    concepts: ids annotated exhaustively in this image when that differs from the dataset's label file
        (such a concept without instance is a valid negative prompt).
    intensity: what the numbers of a 16-bit image mean; unless given, what its reader says.
    pair: keys of the samples that show the same slice of the same patient in another modality, with the same masks.
    lost: named counts of pixels or objects that the converter had to leave out, e.g. {"pixels outside the image": 12}.
    extra: further facts for the record, JSON values only; no identity, no free text of patients.
    """

    key: str
    image: Image
    instances: list[Instance]
    group: str
    official_split: str | None = None
    spacing: tuple[float, float] | None = None
    position: SlicePosition | None = None
    concepts: tuple[str, ...] | None = None
    intensity: Intensity | None = None
    pair: tuple[str, ...] = ()
    lost: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.intensity = self.intensity or self.image.intensity
