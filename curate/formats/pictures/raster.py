"""Ordinary pictures: JPEG, PNG, TIFF, BMP, GIF, PNM, also gzipped.

JPEG and 8-bit PNG, the bulk of all data, are read by the fastest strict decoders; Pillow reads the rest.
Nothing is resized or recoloured. What a file is, is decided by its first bytes and never by its name.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from medshards.curate.formats.pictures import jpeg, png
from medshards.curate.formats.pictures.png import MAX_PIXELS
from medshards.curate.sample import Image, Reject
from medshards.curate.tree import File

LFS = b"version https://git-lfs.github.com/spec/"
MAX_BYTES, BLOCK = 4 * MAX_PIXELS, 1 << 20  # of a gunzipped picture
PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def read_bytes(file: File) -> bytes:
    """The bytes of a file, gunzipped where gzipped. Raises Reject for missing, empty and LFS pointer files."""
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise Reject("unreadable", f"cannot be read ({error.strerror})", file.name) from error
    if not data:
        raise Reject("unreadable", "the file is empty (0 bytes)", file.name)
    if data.startswith(LFS):
        raise Reject("lfs_pointer", "is a Git-LFS pointer, not the file: run `git lfs pull`", file.name)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                blocks = [block for _ in range(MAX_BYTES // BLOCK) if (block := stream.read(BLOCK))]
                if stream.read(1):
                    raise Reject("too_large", f"holds more than {MAX_BYTES:,} bytes", file.name)
                data = b"".join(blocks)
        except (OSError, EOFError, zlib.error) as error:
            raise Reject("unreadable", f"damaged gzip: {error}", file.name) from error
    return data


def read_image(file: File, upright: bool = False) -> Image:
    """An image as uint8 H×W (grey) or H×W×3 (RGB), or uint16 H×W, with its own bytes where they can be kept.

    Bytes are kept when they are an 8-bit grey or RGB JPEG or PNG that every viewer shows as it is decoded
    here; Exif, XMP, IPTC and text chunks, which can hold a name, are cut out of them. A fully opaque alpha channel
    is dropped. Raises Reject (`unreadable`, `lfs_pointer`, `unsupported_image`).

    upright: turn the pixels as the Exif orientation of a JPEG says; for masks that were drawn on the turned picture.
    """
    data = read_bytes(file)
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg_image(data, upright)
        if data[:8] == png.SIGNATURE:
            kept = _png_image(data)
            if kept is not None:
                return kept
    except (jpeg.JpegError, png.PngError) as error:
        raise Reject("unreadable", str(error), file.name) from error
    return Image(_plain(_pillow(data, file), file))


def _jpeg_image(data: bytes, upright: bool) -> Image:
    header = jpeg.read_header(data)
    if header.depth != 8 or header.channels not in (1, 3):
        raise jpeg.JpegError(f"{header.depth}-bit JPEG with {header.channels} channels is not supported")
    pixels = jpeg.decode(data, header.channels)
    orientation = jpeg.orientation(data, header)
    if orientation not in (0, 1):  # viewers would turn the file, and the mask not
        return Image(_turned(pixels, orientation) if upright else pixels)
    return Image(pixels, jpeg.without_text(data, header) if header.free_text else data, "jpg")


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Pixels as a viewer shows them: Exif 2.3, tag 0x0112, says where row 0 and column 0 of the file belong."""
    if orientation > 4:  # the file's rows are the picture's columns
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # row 0 at the bottom
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):  # column 0 at the right
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _png_image(data: bytes) -> Image | None:
    header = png.read_header(data)
    if header.depth != 8 or header.color not in (png.GREY, png.RGB) or header.has(b"tRNS"):
        return None
    pixels = png.decode(data)
    return Image(
        pixels, png.without(data, header, png.FREE_TEXT) if header.has(*png.FREE_TEXT) else data, "png"
    )


def _pillow(data: bytes, file: File) -> PIL.Image.Image:
    try:
        if data[:8] == png.SIGNATURE:
            png.read_header(data)  # Pillow reads some damaged files without a word
        picture = PIL.Image.open(io.BytesIO(data))
        picture.load()
        frames = getattr(picture, "n_frames", 1)
    except PIL.UnidentifiedImageError as error:
        raise Reject(
            "unreadable", f"is no picture that can be read (first bytes {data[:8]!r})", file.name
        ) from error
    except Exception as error:
        raise Reject("unreadable", f"cannot be decoded: {error}", file.name) from error
    if frames != 1:
        raise Reject("unsupported_image", f"holds {frames} frames, expected one", file.name)
    return picture


def _plain(picture: PIL.Image.Image, file: File) -> NDArray:
    """Pixels of a Pillow picture as uint8 H×W or H×W×3, or uint16 H×W."""
    if picture.mode in ("RGBA", "LA", "PA"):
        alpha = np.asarray(picture.getchannel("A"))
        if alpha.min() != 255:
            raise Reject(
                "unsupported_image", "has transparent pixels: its visible colours are undefined", file.name
            )
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    if picture.mode == "P":
        picture = picture.convert("RGB")
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode in ("L", "RGB"):
        return np.array(picture)
    if picture.mode.startswith("I;16"):
        return np.array(picture).astype(np.uint16)
    raise Reject(
        "unsupported_image",
        f"has pixels of Pillow mode {picture.mode!r}; 8-bit or 16-bit expected",
        file.name,
    )


def _decoded(data: bytes, file: File) -> NDArray:
    """Pixels of a mask file: bool becomes 0/255, palettes their colours, alpha is dropped."""
    try:
        if data[:8] == png.SIGNATURE:
            header = png.read_header(data)
            if header.depth in (1, 8, 16) and header.color in (png.GREY, png.RGB):
                return png.decode_mask(data) if header.color == png.GREY else png.decode(data)
        if data[:2] == b"\xff\xd8":
            frame = jpeg.read_header(data)
            if frame.depth == 8 and frame.channels in (1, 3):
                return jpeg.decode(data, frame.channels)
    except (jpeg.JpegError, png.PngError) as error:
        raise Reject("unreadable", str(error), file.name) from error
    picture = _pillow(data, file)
    if picture.mode in ("RGBA", "LA", "PA"):
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    return np.array(picture)


def read_color(file: File) -> NDArray[np.uint8]:
    """A colour mask as uint8 H×W×3 RGB; grey files get three equal channels, alpha is dropped."""
    pixels = _decoded(read_bytes(file), file)
    if pixels.dtype != np.uint8:
        raise Reject("unsupported_image", f"has {pixels.dtype} pixels, expected 8-bit colours", file.name)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def read_grey(file: File, tolerance: int = 0) -> NDArray:
    """A mask of one channel, H×W integers: 1-bit files give 0 and 255, colour files must have equal channels.

    tolerance: how far the channels may differ. JPEG stores colours with a loss and coarsely; with a tolerance
    its brightness is read, and its colours are judged on the picture at an eighth of its size.
    """
    data = read_bytes(file)
    if tolerance and data[:2] == b"\xff\xd8":
        try:
            _require_grey(jpeg.decode_eighth(data), tolerance, file)
            return jpeg.decode(data, 1)
        except jpeg.JpegError as error:
            raise Reject("unreadable", str(error), file.name) from error
    pixels = _decoded(data, file)
    if pixels.ndim == 2:
        return pixels
    _require_grey(pixels, tolerance, file)
    return np.ascontiguousarray(pixels[:, :, 1])


def _require_grey(rgb: NDArray, tolerance: int, file: File) -> None:
    red, green, blue = (cv2.extractChannel(rgb, channel) for channel in range(3))
    for a, b in ((red, green), (green, blue), (blue, red)):
        difference = cv2.absdiff(a, b)
        if difference.size and int(difference.max()) > tolerance:
            color = rgb[np.unravel_index(int(difference.argmax()), difference.shape)]
            found = "#" + "".join(f"{int(value):02x}" for value in color)
            raise Reject("unknown_label", f"colour {found} in a mask that should be grey", file.name)


def read_indices(file: File) -> NDArray[np.uint8]:
    """A palette picture's indices, or a grey picture's values, as uint8 H×W; never its display colours."""
    picture = _pillow(read_bytes(file), file)
    if picture.mode not in ("P", "L", "1"):
        raise Reject(
            "unsupported_image", f"has Pillow mode {picture.mode!r}; expected a palette or grey", file.name
        )
    return np.array(picture, dtype=np.uint8)


def read_binary(file: File) -> NDArray[np.bool_]:
    """A lossless mask that holds 0 and 255 only (or is 1-bit), as bool H×W. Any other value is a Reject."""
    grey = read_grey(file)
    mask = grey == 255
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
    return read_grey(file, tolerance=48) > above


def require_size(mask: NDArray, image: Image, file: File) -> None:
    """Raise Reject (`size_mismatch`) unless the mask is as large as the image."""
    if mask.shape[:2] != image.size:
        (mh, mw), (ih, iw) = mask.shape[:2], image.size
        raise Reject("size_mismatch", f"the mask is {mw} x {mh} px, its image {iw} x {ih} px", file.name)


def split_values(ids: NDArray, labels: Mapping[int, str], file: File) -> dict[str, NDArray[np.bool_]]:
    """The mask of each native label present in a map of class values (H×W). An unknown value is a Reject."""
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
