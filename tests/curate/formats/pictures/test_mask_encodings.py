"""One mask in every encoding that was met, through every reader of masks: it comes out right, or it is refused."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.sample import Reject
from medshards.curate.tree import File
from tests.curate.formats.pictures.pngs import grey_png

MASK = np.zeros((32, 48), bool)
MASK[8:24, 12:30] = True


def png(pixels: NDArray, mode: str | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels, mode).save(stream, "PNG", **options)
    return stream.getvalue()


def tiff(pixels: NDArray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def jpeg(pixels: NDArray) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def palette(colors: list[int], form: str = "PNG", **options: Any) -> bytes:
    """MASK as indices 0 and 1 with these two colours."""
    picture = PIL.Image.fromarray(MASK.astype(np.uint8), "P")
    picture.putpalette(colors)
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def alpha(color: int, channels: int, opacity: NDArray) -> bytes:
    grey = np.full(MASK.shape, color, np.uint8)
    return png(np.dstack([*[grey] * channels, opacity.astype(np.uint8)]))


def scaled(value: float, dtype: type) -> NDArray:
    return (MASK * value).astype(dtype)


GREY = scaled(255, np.uint8)
SOFT = np.maximum(GREY, cv2.dilate(GREY, np.ones((5, 5))) // 3)
HOLED = np.where(MASK, 0.5, np.nan).astype(np.float32)
ENCODINGS: dict[str, bytes] = {
    "0 and 255": png(GREY),
    "0 and 255 as RGB": png(np.dstack([GREY] * 3)),
    "0 and 255 as opaque RGBA": png(np.dstack([*[GREY] * 3, GREY | 255])),
    "0 and 255 in JPEG": jpeg(GREY),
    "0 and 255 in TIFF": tiff(GREY),
    "1 bit": png(MASK),
    "1 bit in TIFF": tiff(MASK, photometric="minisblack"),
    "white is 0": tiff(255 - GREY, photometric="miniswhite"),
    "0 and 1": png(scaled(1, np.uint8)),
    "0 and 1 as RGB": png(np.dstack([scaled(1, np.uint8)] * 3)),
    "0 and 1 in JPEG": jpeg(scaled(1, np.uint8)),
    "0 and 1 in TIFF": tiff(scaled(1, np.uint8)),
    "0 and 1 in 2 bits": grey_png(scaled(1, np.uint8), 2),
    "0 and 1 in 4 bits": grey_png(scaled(1, np.uint8), 4),
    "0 and 3 in 2 bits": grey_png(scaled(3, np.uint8), 2),
    "0 and 1 in 16 bits": png(scaled(1, np.uint16)),
    "0 and 255 in 16 bits": png(scaled(255, np.uint16)),
    "0 and 65535": png(scaled(65535, np.uint16)),
    "soft borders": png(SOFT),
    "soft borders in 16 bits": png(SOFT.astype(np.uint16) * 257),
    "0 and 1 in 32 bits": tiff(scaled(1, np.int32)),
    "0 and -1": tiff(scaled(-1, np.int16)),
    "fractions": tiff(scaled(0.9, np.float32)),
    "0 and 1 as reals": tiff(scaled(1, np.float32)),
    "0 and 255 as reals": tiff(scaled(255, np.float32)),
    "not a number": tiff(HOLED),
    "palette, black and white": palette([0, 0, 0, 255, 255, 255]),
    "palette, black and white, in TIFF": palette([0, 0, 0, 255, 255, 255], "TIFF"),
    "palette, all black, in TIFF": palette([0, 0, 0, 0, 0, 0], "TIFF"),
    "palette, black and red": palette([0, 0, 0, 255, 0, 0]),
    "palette, black and nearly black": palette([0, 0, 0, 1, 1, 1]),
    "palette, all black": palette([0, 0, 0, 0, 0, 0]),
    "palette, all white": palette([255] * 6),
    "palette, all black, in GIF": palette([0, 0, 0, 0, 0, 0], "GIF"),
    "palette, foreground transparent": palette([0, 0, 0, 255, 255, 255], transparency=1),
    "palette, background transparent": palette([255] * 6, transparency=0),
    "alpha channel, black": alpha(0, 3, GREY),
    "alpha channel, white": alpha(255, 3, GREY),
    "alpha channel of 0 and 1": alpha(0, 3, scaled(1, np.uint8)),
    "alpha channel of grey": alpha(255, 1, GREY),
    "transparent colour": png(scaled(1, np.uint8), transparency=0),
    "alpha channel in TIFF": tiff(
        np.dstack([GREY * 0] * 3 + [GREY]), photometric="rgb", extrasamples=["unassalpha"]
    ),
}

LABELS = {0: "background", 1: "lesion"}
COLORS = {(0, 0, 0): "background", (255, 255, 255): "lesion"}
READERS: dict[str, Callable[[File], NDArray]] = {
    "threshold": raster.read_threshold,
    "binary": raster.read_binary,
    "values": lambda file: raster.split_values(raster.read_grey(file), LABELS, file)["lesion"],
    "indices": lambda file: raster.split_values(raster.read_indices(file), LABELS, file)["lesion"],
    "colors": lambda file: raster.split_colors(raster.read_color(file), COLORS, file)["lesion"],
}
READ = {  # what each reader takes; all else is refused
    "threshold": {
        *("soft borders", "soft borders in 16 bits"),
        *(
            "0 and 255",
            "0 and 255 as RGB",
            "0 and 255 as opaque RGBA",
            "0 and 255 in JPEG",
            "0 and 255 in TIFF",
        ),
        *("1 bit", "1 bit in TIFF", "white is 0", "0 and 3 in 2 bits", "0 and 255 in 16 bits", "0 and 65535"),
        *("0 and 255 as reals", "palette, black and white", "palette, black and white, in TIFF"),
    },
    "binary": {
        *(
            "0 and 255",
            "0 and 255 as RGB",
            "0 and 255 as opaque RGBA",
            "0 and 255 in TIFF",
            "1 bit",
            "1 bit in TIFF",
        ),
        *(
            "white is 0",
            "0 and 3 in 2 bits",
            "0 and 255 in 16 bits",
            "0 and 255 as reals",
            "palette, black and white",
            "palette, black and white, in TIFF",
        ),
    },
    "values": {
        *("0 and 1", "0 and 1 as RGB", "0 and 1 in TIFF", "0 and 1 in 16 bits", "0 and 1 in 32 bits"),
        *("0 and 1 as reals", "0 and 1 in JPEG", "palette, black and nearly black"),
    },
    "indices": {
        *(
            "0 and 1",
            "0 and 1 in TIFF",
            "0 and 1 in JPEG",
            "palette, black and white",
            "palette, black and white, in TIFF",
            "palette, black and red",
        ),
        *(
            "palette, black and nearly black",
            "palette, all black",
            "palette, all white",
            "palette, all black, in GIF",
            "palette, all black, in TIFF",
        ),
    },
    "colors": {
        *(
            "0 and 255",
            "0 and 255 as RGB",
            "0 and 255 as opaque RGBA",
            "0 and 255 in TIFF",
            "1 bit",
            "1 bit in TIFF",
        ),
        *("white is 0", "0 and 3 in 2 bits", "palette, black and white", "palette, black and white, in TIFF"),
    },
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_mask_is_right_or_refused(encoding: str, reader: str, tmp_path: Path) -> None:
    path = tmp_path / "mask"
    path.write_bytes(ENCODINGS[encoding])
    if encoding in READ[reader]:
        assert np.array_equal(READERS[reader](File("mask", path)), MASK)
    else:
        with pytest.raises(Reject) as caught:
            READERS[reader](File("mask", path))
        assert caught.value.file == "mask"


@pytest.mark.parametrize("value", [0.5, 1.5, np.nan, -1])
def test_class_values_of_any_reader_are_whole(value: float) -> None:
    values = np.where(MASK, value, 0)
    with pytest.raises(Reject, match="label_not_integer"):
        raster.split_values(values, {0: "background", 1: "lesion", -1: "other"}, File("mask", Path("mask")))


@pytest.mark.parametrize("encoding", [png(GREY * 0), jpeg(GREY * 0), png(MASK & False), tiff(GREY * 0)])
def test_a_mask_without_foreground_is_empty(encoding: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mask"
    path.write_bytes(encoding)
    assert not raster.read_threshold(File("mask", path)).any()
    assert not raster.read_binary(File("mask", path)).any()
