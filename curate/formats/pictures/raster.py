"""Pictures and masks in ordinary files: JPEG, PNG, TIFF, BMP, GIF, PNM, also gzipped.

One rule of orientation for every format: pixels are read as stored, images and masks alike, for masks do not know of
the Exif or TIFF tag by which a viewer turns a photograph. Coordinates (LabelMe, COCO, contours) were drawn on what a
viewer shows, so the image they belong to is read `upright`.

One rule of masks for every reader: a mask comes out right or is refused. Foreground that a reader cannot see, as in an
alpha channel, in a palette of one colour, in fractions or far below a threshold, is never read as an empty mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medshards.curate.formats.files import read_bytes
from medshards.curate.formats.numbers import as_labels
from medshards.curate.formats.pictures import exif, jpeg
from medshards.curate.formats.pictures.decode import Picture, check_kind, decode
from medshards.curate.formats.pictures.errors import PictureError
from medshards.curate.quantise import percentile_window
from medshards.curate.sample import Image, Intensity, Reject
from medshards.curate.tree import File


@contextmanager
def _refused(file: File) -> Iterator[None]:
    try:
        yield
    except PictureError as error:
        raise Reject(error.code, str(error), file.name) from error


def read_image(file: File, upright: bool = False) -> Image:
    """An image as uint8 H×W (grey) or H×W×3 (RGB), or uint16 H×W, with its own bytes where they can be kept.

    Bytes are kept when they are an 8-bit grey or RGB JPEG or PNG that every viewer shows as it is decoded here; of
    them that alone which decoding needs, for Exif, texts, profiles and the like can hold a name. A fully opaque alpha
    channel is dropped. 16-bit pictures keep their numbers and get a display window, as volumes do: many hold 12 bits.

    upright: turn the pixels as a viewer does; for images whose annotations are coordinates.

    Raises Reject (`unreadable`, `lfs_pointer`, `unsupported_image`, `too_large`).
    """
    data = read_bytes(file)
    with _refused(file):
        picture = decode(data)
        kept, extension = _kept(picture)
    _require_opaque(picture, file)
    pixels = picture.pixels
    if pixels.dtype == np.uint16 and pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = np.ascontiguousarray(pixels[:, :, 0])
    if pixels.dtype != np.uint8 and not (pixels.dtype == np.uint16 and pixels.ndim == 2):
        what = "grey" if pixels.ndim == 2 else "RGB"
        message = f"has {pixels.dtype} {what} pixels; 8-bit grey or RGB, or 16-bit grey is expected"
        raise Reject("unsupported_image", message, file.name)
    intensity = None
    if pixels.dtype == np.uint16:
        intensity = Intensity(1.0, 0.0, "arbitrary", percentile_window(pixels[None]))
    if upright:
        pixels = exif.turned(pixels, picture.orientation)
    return Image(pixels, kept, extension, intensity)


def _kept(picture: Picture) -> tuple[bytes | None, str]:
    """The bytes that may be stored as they are, if any, and the extension of the stored file."""
    plain = picture.plain
    if plain is None or picture.orientation != exif.AS_STORED:
        return None, "png"
    return plain, "jpg" if plain[:2] == b"\xff\xd8" else "png"


def _require_opaque(picture: Picture, file: File) -> None:
    if not picture.opaque:
        message = "has transparent pixels: what is seen of it, colours or alpha channel, is undefined"
        raise Reject("unsupported_image", message, file.name)


def _read_mask(file: File) -> Picture:
    """A picture whose numbers are labels or colours."""
    data = read_bytes(file)
    with _refused(file):
        picture = decode(data)
    _require_opaque(picture, file)
    return picture


def _colors(picture: Picture, file: File) -> NDArray[Any]:
    """H×W or H×W×3 whole numbers, in which the foreground can be seen if there is one."""
    pixels, indices = picture.pixels, picture.indices
    if indices is not None and (indices != indices[0, 0]).any() and (pixels == pixels[0, 0]).all():
        count = len(np.unique(indices))
        message = f"its palette gives {count} values one colour: which are foreground cannot be seen"
        raise Reject("unknown_label", message, file.name)
    return as_labels(pixels, file)


def read_color(file: File) -> NDArray[np.uint8]:
    """A colour mask as uint8 H×W×3 RGB; grey files get three equal channels.

    Raises Reject (`unreadable`, `lfs_pointer`, `unsupported_image`, `too_large`, `unknown_label`,
    `label_not_integer`).
    """
    pixels = _colors(_read_mask(file), file)
    if pixels.dtype != np.uint8:
        raise Reject("unsupported_image", f"has {pixels.dtype} pixels, expected 8-bit colours", file.name)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def read_grey(file: File, tolerance: int = 0) -> NDArray[Any]:
    """A mask of one channel, H×W integers: 1-bit files give 0 and 255, colour files must have equal channels.

    tolerance: how far the channels may differ. JPEG stores colours with a loss and coarsely; with a tolerance
    its brightness is read, and its colours are judged on the picture at an eighth of its size.

    Raises Reject as `read_color` does.
    """
    if tolerance:
        data = read_bytes(file)
        if data[:2] == b"\xff\xd8":
            with _refused(file):
                check_kind(jpeg.read_header(data))
                eighth, grey = jpeg.decode_eighth(data), jpeg.decode(data, 1)
            _require_grey(eighth, tolerance, file)
            return grey
    pixels = _colors(_read_mask(file), file)
    if pixels.ndim == 2:
        return pixels
    _require_grey(pixels, tolerance, file)
    return np.ascontiguousarray(pixels[:, :, 1])


def _require_grey(rgb: NDArray[Any], tolerance: int, file: File) -> None:
    if rgb.dtype.itemsize > 2:
        rgb = rgb.astype(np.float64)  # OpenCV knows no large whole numbers
    red, green, blue = (cv2.extractChannel(rgb, channel) for channel in range(3))
    for a, b in ((red, green), (green, blue), (blue, red)):
        difference = cv2.absdiff(a, b)
        if difference.size and int(difference.max()) > tolerance:
            color = rgb[np.unravel_index(int(difference.argmax()), difference.shape)]
            found = "#" + "".join(f"{int(value):02x}" for value in color)
            raise Reject("unknown_label", f"colour {found} in a mask that should be grey", file.name)


def read_indices(file: File) -> NDArray[np.uint8]:
    """A palette picture's indices, or a grey picture's values, as uint8 H×W; never its display colours.

    Raises Reject as `read_color` does.
    """
    picture = _read_mask(file)
    values = picture.pixels if picture.indices is None else picture.indices
    if values.ndim != 2 or values.dtype != np.uint8:
        message = f"has {values.dtype} pixels of shape {values.shape}; a palette or 8-bit grey is expected"
        raise Reject("unsupported_image", message, file.name)
    return values


def read_binary(file: File) -> NDArray[np.bool_]:
    """A lossless mask that holds 0 and 255 only (or is 1-bit), as bool H×W. Any other value is a Reject."""
    grey = read_grey(file)
    mask: NDArray[np.bool_] = grey == 255
    count = int(np.count_nonzero(grey)) - int(np.count_nonzero(mask))
    if count:
        value = int(grey[(grey != 0) & ~mask][0])
        raise Reject(
            "unknown_label",
            f"{count} px of value {value} or alike; a mask of 0 and 255 is expected",
            file.name,
        )
    return mask


def read_threshold(file: File, above: int = 127) -> NDArray[np.bool_]:
    """A mask stored with loss (JPEG) or with soft borders, as bool H×W: grey value > `above`."""
    return require_foreground(read_grey(file, tolerance=48), above, file)


def require_foreground(values: NDArray[Any], above: int, file: File) -> NDArray[np.bool_]:
    """`values` > `above`, which is meant for 0 to 255; 16-bit values that go beyond are measured against 65,535.

    Raises Reject (`unknown_label`) where some values are above 0 and none above the threshold: a mask of 0 and 1.
    """
    if values.dtype == np.uint16 and values.max(initial=0) > 255:
        above *= 257
    mask: NDArray[np.bool_] = values > above
    if not mask.any() and values.any():
        count, greatest = np.count_nonzero(values), values.max()
        message = f"{count} px of values up to {greatest}, none above {above}: is it a mask of 0 and 1?"
        raise Reject("unknown_label", message, file.name)
    return mask


def require_size(mask: NDArray[Any], image: Image, file: File) -> None:
    """Raise Reject (`size_mismatch`) unless the mask is as large as the image."""
    if mask.shape[:2] != image.size:
        (mh, mw), (ih, iw) = mask.shape[:2], image.size
        raise Reject("size_mismatch", f"the mask is {mw} x {mh} px, its image {iw} x {ih} px", file.name)


def split_values(ids: NDArray[Any], labels: Mapping[int, str], file: File) -> dict[str, NDArray[np.bool_]]:
    """The mask of each native label present in a map of class values (H×W).

    Raises Reject (`unknown_label`, and `label_not_integer` for fractions).
    """
    ids = as_labels(ids, file)
    present = np.flatnonzero(np.bincount(ids.ravel())) if ids.dtype == np.uint8 else np.unique(ids)
    unknown = [int(v) for v in present if int(v) not in labels]
    if unknown:
        counts = ", ".join(f"{v} ({int(np.count_nonzero(ids == v))} px)" for v in unknown[:5])
        known = ", ".join(f"{v} {name}" for v, name in sorted(labels.items()))
        raise Reject(
            "unknown_label", f"pixel values {counts} are not among the known ones: {known}", file.name
        )
    return {labels[int(v)]: ids == v for v in present}


def split_colors(
    rgb: NDArray[np.uint8], labels: Mapping[tuple[int, int, int], str], file: File
) -> dict[str, NDArray[np.bool_]]:
    """The mask of each native label present in a colour mask (H×W×3). An unknown colour is a Reject."""
    packed = rgb[:, :, 0].astype(np.uint32) << 16 | rgb[:, :, 1].astype(np.uint32) << 8 | rgb[:, :, 2]
    names = {r << 16 | g << 8 | b: name for (r, g, b), name in labels.items()}
    result: dict[str, NDArray[np.bool_]] = {}
    covered = 0
    for code, name in names.items():
        mask = packed == code
        area = int(np.count_nonzero(mask))
        if area:
            covered += area
            result[name] = result[name] | mask if name in result else mask
    if covered != packed.size:
        codes, counts = np.unique(packed[~np.isin(packed, list(names))], return_counts=True)
        shown = ", ".join(
            f"#{c:06x} ({n} px)" for c, n in list(zip(codes.tolist(), counts.tolist(), strict=True))[:5]
        )
        known = ", ".join(f"#{c:06x} {name}" for c, name in names.items())
        raise Reject("unknown_label", f"colours {shown} are not among the known ones: {known}", file.name)
    return result
