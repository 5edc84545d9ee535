"""Ordinary pictures: turned photographs."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from medshards.curate.formats.pictures.raster import read_image
from medshards.curate.tree import File


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_a_viewer_shows(orientation: int, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pixels = np.kron(np.random.default_rng(1).integers(0, 256, (4, 6, 3)), np.ones((8, 8, 1))).astype(
        np.uint8
    )
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(pixels).save(path, exif=exif, quality=95)
    shown = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(path)))
    read = read_image(File("a.jpg", path), upright=True)
    assert read.pixels.shape == shown.shape
    assert np.abs(read.pixels.astype(int) - shown).max() <= 3  # two JPEG decoders
    stored = read_image(File("a.jpg", path))
    assert stored.pixels.shape == pixels.shape
    assert (read.encoded is None) == (orientation != 1)
