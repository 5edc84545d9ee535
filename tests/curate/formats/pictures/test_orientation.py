"""One rule for pictures with an orientation tag: as stored, images and masks alike; upright for coordinates."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile
from numpy.typing import NDArray

from medshards.curate.formats.pictures import raster
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Sample
from medshards.curate.source import get_source
from medshards.curate.tree import File

STORED = np.kron(np.array([[30, 90, 150], [210, 60, 240]]), np.ones((16, 16))).astype(np.uint8)
WHITE = np.where(STORED > 100, 255, 0).astype(np.uint8)


def exif_of(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def jpeg(pixels: NDArray, orientation: int) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=100, exif=exif_of(orientation))
    return stream.getvalue()


def png(pixels: NDArray, orientation: int) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG", exif=exif_of(orientation))
    return stream.getvalue()


def tiff(pixels: NDArray, orientation: int, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, extratags=[(274, "H", 1, orientation, True)], **options)
    return stream.getvalue()


def big_endian_tiff(pixels: NDArray, orientation: int) -> bytes:
    return tiff(pixels, orientation, byteorder=">", compression="lzw")


FORMATS: dict[str, Callable[[NDArray, int], bytes]] = {
    "JPEG": jpeg,
    "PNG": png,
    "TIFF": tiff,
    "big-endian TIFF": big_endian_tiff,
}


def shown(orientation: int) -> NDArray:
    """STORED as Pillow's own transposition, an independent one, shows it."""
    picture = PIL.Image.fromarray(STORED)
    picture.getexif()[0x0112] = orientation
    return np.asarray(PIL.ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", FORMATS)
def test_images_are_as_stored_or_upright(form: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(FORMATS[form](STORED, orientation))
    file = File("a", path)
    image = raster.read_image(file)
    assert np.array_equal(image.pixels, STORED)
    assert np.array_equal(raster.read_image(file, upright=True).pixels, shown(orientation))
    if orientation != 1:  # a viewer would turn the file
        assert image.encoded is None


MASKS: dict[str, Callable[[File], NDArray]] = {
    "threshold": raster.read_threshold,
    "binary": raster.read_binary,
    "grey": lambda file: raster.read_grey(file) == 255,
    "indices": lambda file: raster.read_indices(file) == 255,
    "color": lambda file: raster.read_color(file)[:, :, 0] == 255,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", FORMATS)
def test_masks_are_as_stored(form: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(FORMATS[form](WHITE, orientation))
    for name, read in MASKS.items():
        assert np.array_equal(read(File("a", path)), WHITE == 255), name


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("number", [0, 9, 77])
def test_a_number_that_is_no_orientation_turns_nothing(form: str, number: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(FORMATS[form](STORED, number))
    assert np.array_equal(raster.read_image(File("a", path), upright=True).pixels, STORED)


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\xff\1\x12"])
def test_damaged_exif_turns_nothing(data: bytes, tmp_path: Path) -> None:
    plain = png(STORED, 1)
    exif = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    path = tmp_path / "a"
    path.write_bytes(plain[:33] + exif + plain[33:])
    assert np.array_equal(raster.read_image(File("a", path), upright=True).pixels, STORED)


# ---------------------------------------------------------------------------------------------- whole datasets

COORDINATES = {"btxrd": "*.jp*g", "pcmmd": "*.jpg", "papila": "*.jpg", "arcade": "*.png", "monuseg": "*.tif"}
RASTERS = {
    "kvasir_seg": "images/*.jpg",
    "bkai_neopolyp": "train/*.jpeg",
    "busi": "*).png",
    "drive": "*training.tif",
}
BACK = {  # what undoes the turn of an orientation
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_90,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_270,
}


def samples_of(slug: str, raw: Path) -> dict[str, Sample]:
    source = get_source(slug)
    loaded = (item for case in list_download(source, raw).cases for item in source.load(case))
    return {item.key: item for item in loaded if isinstance(item, Sample)}


def retag(path: Path, orientation: int, turn: bool) -> None:
    """Give a file an orientation; with `turn` also the pixels that then look as before."""
    picture: PIL.Image.Image = PIL.Image.open(path)
    picture.load()
    if turn:
        picture = PIL.ImageOps.exif_transpose(picture).transpose(BACK[orientation])
    if path.suffix == ".tif":
        path.write_bytes(tiff(np.asarray(picture), orientation, photometric="rgb"))
    else:
        lossless: dict[str, Any] = {"quality": 100, "subsampling": 0} if path.suffix != ".png" else {}
        picture.save(path, exif=exif_of(orientation), **lossless)


@pytest.mark.parametrize("orientation", BACK)
@pytest.mark.parametrize("slug", [*COORDINATES, *RASTERS])
def test_image_and_annotation_fit_in_every_dataset(slug: str, orientation: int, tmp_path: Path) -> None:
    """Coordinates were drawn on what a viewer shows, rasters on what the file holds."""
    write_phantom(slug, tmp_path / slug)
    before = samples_of(slug, tmp_path / slug)
    files = sorted((tmp_path / slug).rglob((COORDINATES | RASTERS)[slug]))
    assert files
    for path in files:
        retag(path, orientation, slug in COORDINATES)
    after = samples_of(slug, tmp_path / slug)
    assert before.keys() == after.keys()
    for key, sample in after.items():
        old = before[key]
        assert sample.image.pixels.shape == old.image.pixels.shape
        difference = np.abs(sample.image.pixels.astype(int) - old.image.pixels.astype(int))
        assert difference.mean() < 3  # saved again as JPEG
        areas = [[(i.concept, i.region.bbox, i.area) for i in s.instances] for s in (sample, old)]
        assert areas[0] == areas[1]
