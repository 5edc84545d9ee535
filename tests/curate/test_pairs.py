"""Halves of pairs are told of in their place; the sample of one mask is the image with that mask."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.formats.pictures import raster
from medshards.curate.pairs import Pair, pairs, sample_of_mask
from medshards.curate.sample import Reject
from medshards.curate.source import Case, get_source
from medshards.curate.tree import File


def file(name: str, folder: Path = Path("/nowhere")) -> File:
    return File(name, folder / name)


def save(folder: Path, name: str, pixels: np.ndarray) -> File:
    PIL.Image.fromarray(pixels).save(folder / name)
    return file(name, folder)


def test_halves_stand_in_the_order_of_the_keys_with_the_name_to_look_for() -> None:
    images = {key: file(f"images/{key}.jpg") for key in ("c", "a", "b")}
    masks = {key: file(f"masks/{key}_mask.png") for key in ("d", "c", "a")}
    found = list(pairs(images, masks, "images/{}.jpg".format, "masks/{}_mask.png".format))
    assert [item if isinstance(item, Pair) else str(item) for item in found] == [
        Pair("a", images["a"], masks["a"]),
        "images/b.jpg: missing_mask: no masks/b_mask.png",
        Pair("c", images["c"], masks["c"]),
        "masks/d_mask.png: missing_image: no images/d.jpg",
    ]


def test_a_key_may_be_several_words() -> None:
    (reject,) = pairs({("C1", 7): file("C1/7.bmp")}, {}, str, "{0[0]}/{0[1]}_mask.bmp".format)
    assert isinstance(reject, Reject)
    assert reject.message == "no C1/7_mask.bmp"


def test_the_sample_of_one_mask(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 10:12] = 255
    image = save(tmp_path, "image.png", np.full((20, 30, 3), 90, np.uint8))
    case = Case("k", {"image": image, "mask": save(tmp_path, "mask.png", mask)}, "g", "test")
    sample = sample_of_mask(get_source("kvasir_seg"), case, "polyp", raster.read_binary)
    (polyp,) = sample.instances
    assert (sample.key, sample.group, sample.official_split) == ("k", "g", "test")
    assert (polyp.label, polyp.area, polyp.region.bbox) == ("polyp", 10, (10, 4, 2, 5))
    assert np.array_equal(polyp.region.mask((20, 30)), mask > 0)


def test_an_empty_mask_is_an_empty_instance(tmp_path: Path) -> None:
    black = save(tmp_path, "black.png", np.zeros((8, 9), np.uint8))
    case = Case("k", {"image": black, "mask": black}, "g")
    assert [
        i.area for i in sample_of_mask(get_source("ph2"), case, "lesion", raster.read_binary).instances
    ] == [0]


def test_a_mask_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    image = save(tmp_path, "image.png", np.zeros((20, 30, 3), np.uint8))
    mask = save(tmp_path, "mask.png", np.zeros((30, 20), np.uint8))
    case = Case("k", {"image": image, "mask": mask}, "g")
    with pytest.raises(
        Reject, match=r"mask\.png: size_mismatch: the mask is 20 x 30 px, its image 30 x 20 px"
    ):
        sample_of_mask(get_source("kvasir_seg"), case, "polyp", raster.read_binary)
