"""Ordinary pictures: many bits, many colours, many pixels, and what is refused."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from click.testing import CliRunner
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medshards.cli import cli
from medshards.common.window import shown
from medshards.curate.formats.pictures.decode import decode
from medshards.curate.formats.pictures.raster import read_binary, read_image
from medshards.curate.sample import Instance, Region, Reject, Sample
from medshards.curate.tree import File
from tests.curate.formats.pictures.pngs import grey_png

RAMP = np.linspace(0, 4095, 64 * 48).reshape(48, 64)  # 12 bits
COLORS = np.random.default_rng(3).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def at(path: Path, data: bytes) -> File:
    path.write_bytes(data)
    return File(path.name, path)


def tiff(pixels: NDArray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def png(pixels: NDArray) -> bytes:
    return bytes(imagecodecs.png_encode(pixels))


def refused(data: bytes, tmp_path: Path) -> str:
    with pytest.raises(Reject) as caught:
        read_image(at(tmp_path / "a", data))
    assert caught.value.file == "a"
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------ one bit
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_bits_are_read_with_filters_and_without(mask: NDArray) -> None:
    """Pillow filters the rows of a picture, `grey_png` does not."""
    filtered = io.BytesIO()
    PIL.Image.fromarray(mask).save(filtered, "PNG")
    for data in (filtered.getvalue(), grey_png(mask.view(np.uint8), 1)):
        assert np.array_equal(decode(data).pixels, np.where(mask, 255, 0))


def test_a_colour_picture_of_one_bit_is_refused(tmp_path: Path) -> None:
    """There is no such PNG."""
    data = bytearray(grey_png(np.zeros((8, 8), np.uint8), 8))
    data[24:26] = 1, 2  # bits, colours
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert "damaged" in refused(bytes(data), tmp_path)


# ------------------------------------------------------------------------------------------ more than 8 bits


@pytest.mark.parametrize("form", ["png", "tiff", "png of three equal channels"])
def test_12_bits_in_16_are_shown_as_a_person_would_see_them(form: str, tmp_path: Path) -> None:
    pixels = RAMP.astype(np.uint16)
    data = tiff(pixels) if form == "tiff" else png(np.dstack([pixels] * 3) if "three" in form else pixels)
    image = read_image(at(tmp_path / "a", data))
    assert np.array_equal(image.pixels, pixels)  # the numbers are kept
    assert image.encoded is None  # not every viewer shows them
    sample = Sample("a", image, [Instance("x", Region.of(pixels > 0), "x")], "a")
    assert sample.intensity is not None
    assert (sample.intensity.slope, sample.intensity.intercept) == (1, 0)
    low, high = sample.intensity.window
    assert low < 60  # 0.5 % of 4095 and 99.5 %, and a little
    assert 4000 < high <= 4095
    record = {"intensity": {"slope": 1, "intercept": 0, "unit": "arbitrary", "window": (low, high)}}
    assert np.abs(shown(image.pixels, record) - RAMP / 4095 * 255).max() < 3


def test_8_bit_pictures_have_no_window(tmp_path: Path) -> None:
    assert read_image(at(tmp_path / "a", png(COLORS))).intensity is None


def test_16_bit_colours_are_refused_not_cut(tmp_path: Path) -> None:
    assert "8-bit grey or RGB" in refused(png(COLORS.astype(np.uint16) * 16), tmp_path)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32])
def test_other_numbers_are_no_pixels(kind: type, tmp_path: Path) -> None:
    assert "unsupported_image" in refused(tiff((RAMP / 4095).astype(kind)), tmp_path)


def test_a_12_bit_radiograph_gets_a_window_in_the_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "raw/chest_xray_masks/Lung Segmentation"
    mask = np.zeros((200, 160), np.uint8)
    mask[40:160, 20:70] = mask[40:160, 90:140] = 255
    rows, columns = np.indices(mask.shape)
    pixels = (1500 + 10 * columns + 4 * rows).astype(np.uint16)
    for part, data in (("CXR_png", pixels), ("masks", mask)):
        (folder / part).mkdir(parents=True)
        (folder / part / "MCUCXR_0001_0.png").write_bytes(png(data))
    out = tmp_path / "out"
    command = ["build", "chest_xray_masks", "--raw", str(tmp_path / "raw"), "--out", str(out)]
    assert CliRunner().invoke(cli, command).exit_code == 0
    (tar,) = out.rglob("*.tar")
    assert b'"intensity":{"intercept":0.0,"slope":1.0,"unit":"arbitrary","window":[' in tar.read_bytes()


# ----------------------------------------------------------------------------------------------------- TIFF


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb"},
        {"photometric": "minisblack", "planarconfig": "contig"},  # as CVC-ClinicDB's and ETIS-Larib's say
        {"photometric": "rgb", "rowsperstrip": 5, "compression": "lzw"},
        {"photometric": "rgb", "compression": "zlib", "predictor": True, "byteorder": ">"},
        {"photometric": "rgb", "tile": (16, 16)},
    ],
)
def test_three_samples_a_pixel_are_rgb(options: dict, tmp_path: Path) -> None:
    assert np.array_equal(read_image(at(tmp_path / "a", tiff(COLORS, **options))).pixels, COLORS)


def test_rgb_in_planes(tmp_path: Path) -> None:
    planes = np.moveaxis(COLORS, 2, 0)
    data = tiff(planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(at(tmp_path / "a", data)).pixels, COLORS)


def test_tiff_refusals(tmp_path: Path) -> None:
    four = np.dstack([COLORS, COLORS[:, :, :1]])
    assert "colours of kind" in refused(tiff(four, photometric="separated"), tmp_path)
    assert "2 pages" in refused(tiff(np.stack([COLORS] * 2), photometric="rgb"), tmp_path)
    assert "cut short" in refused(tiff(COLORS, photometric="rgb")[:-500], tmp_path)
    assert "5 channels" in refused(tiff(np.dstack([four, four[:, :, :1]]), photometric="rgb"), tmp_path)
    assert "transparent" in refused(tiff(four, photometric="rgb", extrasamples=["unassalpha"]), tmp_path)


def test_a_tiff_with_a_strip_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Readers of TIFF take a strip of 0 bytes for a black one."""
    data = bytearray(tiff(COLORS, photometric="rgb", rowsperstrip=8))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        counts = file.pages.first.tags["StripByteCounts"]
    size = counts.valuebytecount // counts.count
    data[counts.valueoffset : counts.valueoffset + size] = bytes(size)
    assert "all of its strips" in refused(bytes(data), tmp_path)


def test_real_tiff_pictures_that_call_colours_grey(samples: Path, tmp_path: Path) -> None:
    found = sorted((samples / "cvc_clinicdb").rglob("Original/*.tif"))
    for path in found:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            raw = b"".join(
                path.read_bytes()[at : at + size]
                for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
            strips = np.frombuffer(raw, np.uint8).reshape(page.imagelength, page.imagewidth, 3)
        assert np.array_equal(read_image(File(path.name, path)).pixels, strips)
    if not found:
        pytest.skip("no TIFF of CVC-ClinicDB among the samples")


# ------------------------------------------------------------------------------------------------- refusals


def test_cmyk_is_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(COLORS).convert("CMYK").save(stream, "JPEG")
    assert "CMYK" in refused(stream.getvalue(), tmp_path)
    with pytest.raises(Reject, match="CMYK"):
        read_binary(at(tmp_path / "a", stream.getvalue()))


def png_of(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
        for k, d in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )


def bmp_of(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1054, 0, 0, 54) + head + bytes(1000)


def jpeg_of(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(COLORS).save(stream, "JPEG")
    data = stream.getvalue()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def tiff_of(width: int, height: int) -> bytes:
    data = bytearray(tiff(COLORS[:, :, 0]))
    for tag, value in ((256, width), (257, height)):
        place = data.index(struct.pack("<HH", tag, 4 if struct.pack("<HHI", tag, 4, 1) in data else 3))
        data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize("make", [png_of, bmp_of, jpeg_of, tiff_of, lambda w, h: b"P5 %d %d 255\n" % (w, h)])
def test_a_bomb_is_refused_by_its_header(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    said = refused(make(60000, 60000), tmp_path)
    assert "too_large: the header claims 60000 x 60000 px; at most 134,217,728 are read" in said


def test_a_jpeg_of_countless_scans_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(COLORS).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rindex(b"\xff\xda")
    assert "more than 100 scans" in refused(data[:-2] + 100 * data[last:-2] + data[-2:], tmp_path)


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"8BPS" + bytes(60)])
def test_formats_that_are_no_pictures_here(data: bytes, tmp_path: Path) -> None:
    assert "is no picture that can be read" in refused(data, tmp_path)


def test_an_image_with_transparent_pixels_is_refused(tmp_path: Path) -> None:
    alpha = np.full((48, 64, 1), 255, np.uint8)
    opaque = png(np.dstack([COLORS, alpha]))
    assert np.array_equal(read_image(at(tmp_path / "a", opaque)).pixels, COLORS)
    alpha[3, 4] = 254
    assert "transparent" in refused(png(np.dstack([COLORS, alpha])), tmp_path)
