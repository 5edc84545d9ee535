"""HC18: outlines become heads, also where they leave the image; pixel size by the table; no renumbered copies."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.hc18.phantom import HEADS, SIZE
from medshards.curate.listing import list_download
from medshards.curate.phantoms import draw, write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("hc18")
# Areas (px) of the curves that leave the image, in a copy that others filled by hand.
OPEN = {"186_HC": 198345, "346_HC": 207646, "628_2HC": 191839, "787_HC": 200462}


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("hc18", tmp_path / "hc18")
    return tmp_path / "hc18"


def test_real_samples(samples: Path) -> None:
    root = samples / "hc18"
    listing = list_download(SOURCE, root)
    assert not listing.rejects
    assert len(listing.skips) == len(list(root.glob("test_set/*.png")))
    with (root / "training_set_pixel_size_and_HC.csv").open() as stream:
        table = {name: (float(pixel), float(length)) for name, pixel, length in list(csv.reader(stream))[1:]}
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        (head,) = sample.instances
        mask = head.region.mask(sample.image.size)
        outline = np.asarray(PIL.Image.open(case.files["mask"].path)) > 0
        assert head.concept == "fetal_head"
        assert not (outline & ~mask).any()
        pixel, circumference = table[f"{case.key}.png"]
        assert sample.spacing == (pixel, pixel)
        if case.key in OPEN:
            assert head.area == pytest.approx(OPEN[case.key], rel=0.005)
        elif not any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1])):
            # the circumference that the authors measured is that of the ellipse filled here
            (contour,), _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            (_, (a, b), _) = cv2.fitEllipse(contour)
            h = ((a - b) / (a + b)) ** 2  # Ramanujan's formula
            perimeter = np.pi * (a + b) / 2 * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
            assert perimeter * pixel == pytest.approx(circumference, rel=0.03), case.key
            assert head.area == pytest.approx(np.pi * a * b / 4, rel=0.02)


def test_outline_is_filled(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    for name, (center, axes) in HEADS.items():
        outline = np.asarray(PIL.Image.open(phantom / f"training_set/{name}_Annotation.png")) > 0
        head = draw.ellipse(SIZE, center, axes) | outline
        assert np.array_equal(found[name].instances[0].region.mask(SIZE), head), name
    assert not (np.array(PIL.Image.open(phantom / "training_set/186_HC_Annotation.png"))[-1] > 0).all()


def test_images_of_an_examination_are_one_group(phantom: Path) -> None:
    assert {k: s.group for k, s in samples_at(SOURCE, phantom).items()} == {
        "000_HC": "000",
        "010_HC": "010",
        "010_2HC": "010",
        "186_HC": "186",
    }


def test_test_set_is_skipped_though_its_names_return(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert [file for file, _ in listing.skips] == ["test_set/000_HC.png"]
    case = next(c for c in listing.cases if c.key == "000_HC")
    assert case.files["image"].name == "training_set/000_HC.png"


def test_pixel_size_and_circumference_come_from_the_table(phantom: Path) -> None:
    sample = samples_at(SOURCE, phantom)["010_HC"]  # second row of the table
    assert sample.spacing == (0.2, 0.2)
    assert sample.extra == {"head_circumference_mm": 52.5}
    (phantom / "training_set_pixel_size_and_HC.csv").unlink()
    assert samples_at(SOURCE, phantom)["010_HC"].spacing is None


def test_one_flat_folder_with_filled_copies(phantom: Path) -> None:
    flat = phantom.with_name("HC18")
    shutil.copytree(phantom / "training_set", flat)
    shutil.copy(phantom / "training_set_pixel_size_and_HC.csv", flat)
    PIL.Image.new("RGB", (160, 108), (255, 255, 255)).save(flat / "000_HC_Mask.png")
    official, found = samples_at(SOURCE, phantom), samples_at(SOURCE, flat)
    assert {k: (s.instances[0].area, s.spacing) for k, s in found.items()} == {
        k: (s.instances[0].area, s.spacing) for k, s in official.items()
    }


@pytest.mark.parametrize("name", ["9_HC", "011_7HC"])
def test_renumbered_copy_is_refused_whole(phantom: Path, name: str) -> None:
    for end in (".png", "_Annotation.png"):
        shutil.copy(phantom / f"training_set/000_HC{end}", phantom / f"training_set/{name}{end}")
    listing = list_download(SOURCE, phantom)
    assert [r["code"] for r in listing.rejects] == ["not_native"]
    assert not listing.cases


@pytest.mark.parametrize("left", ["all but a gap", "a straight piece"])
def test_a_curve_that_encloses_nothing_is_refused(phantom: Path, left: str) -> None:
    file = phantom / "training_set/000_HC_Annotation.png"
    outline = np.array(PIL.Image.open(file))
    if left == "all but a gap":
        outline[25:35, 75:85] = 0
    else:
        outline[35:] = 0
        outline[:, :70] = outline[:, 90:] = 0
    PIL.Image.fromarray(outline).save(file)
    with pytest.raises(Reject, match=r"000_HC_Annotation.png: open_outline"):
        samples_at(SOURCE, phantom)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_filled_already_is_that_head(phantom: Path, name: str) -> None:
    expected = samples_at(SOURCE, phantom)[name].instances[0].region.mask(SIZE)
    PIL.Image.fromarray(draw.white(expected)).save(phantom / f"training_set/{name}_Annotation.png")
    assert np.array_equal(samples_at(SOURCE, phantom)[name].instances[0].region.mask(SIZE), expected)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (6, 8), (7, 7)])
def test_a_curve_is_a_head_when_it_encloses_more_than_twice_itself(
    phantom: Path, height: int, width: int
) -> None:
    """A box of 6 x 8 px is drawn with 24 px and holds 48; one of 7 x 7 px is drawn with as many and holds 49."""
    file = phantom / "training_set/000_HC_Annotation.png"
    outline = np.zeros_like(np.array(PIL.Image.open(file)))
    outline[20 : 20 + height, 30 : 30 + width] = 255
    outline[21 : 19 + height, 31 : 29 + width] = 0
    PIL.Image.fromarray(outline).save(file)
    drawn, inside = 2 * (height + width) - 4, (height - 2) * (width - 2)
    if height == 7:
        assert samples_at(SOURCE, phantom)["000_HC"].instances[0].area == 49
    else:
        with pytest.raises(Reject, match=f"open_outline: the curve of {drawn} px encloses only {inside} px"):
            samples_at(SOURCE, phantom)


@pytest.mark.parametrize("row", ["010_HC.png,?,52.5", "010_HC.png,0,52.5", "010_HC.png,,", ",,", None])
def test_a_row_that_is_bad_blank_or_missing_costs_its_image_alone(phantom: Path, row: str | None) -> None:
    table = phantom / "training_set_pixel_size_and_HC.csv"
    lines = table.read_text().splitlines()
    assert lines[2] == "010_HC.png,0.2,52.5"
    lines[2:3] = [row] if row is not None else []
    table.write_text("\n".join(lines) + "\n")
    listing = list_download(SOURCE, phantom)
    assert [(r["code"], r["file"]) for r in listing.rejects] == [
        ("missing_metadata", "training_set/010_HC.png")
    ]
    assert [case.key for case in listing.cases] == ["000_HC", "010_2HC", "186_HC"]


def test_a_table_without_its_columns_is_named(phantom: Path) -> None:
    table = phantom / "training_set_pixel_size_and_HC.csv"
    table.write_text(table.read_text().replace("pixel size(mm)", "size"))
    with pytest.raises(Reject, match=r"training_set_pixel_size_and_HC.csv: unreadable: no column pixel size"):
        list_download(SOURCE, phantom)


def test_missing_halves_are_named(phantom: Path) -> None:
    (phantom / "training_set/000_HC_Annotation.png").unlink()
    (phantom / "training_set/010_2HC.png").unlink()
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_mask", "training_set/000_HC.png"),
        ("missing_image", "training_set/010_2HC_Annotation.png"),
    }
