"""MoNuSeg: one instance a polygon, overlaps kept, the archive tells the split, the mirror's blanks."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.catalog.entry import load_catalog
from medshards.curate.datasets.monuseg import phantom as monuseg
from medshards.curate.formats.pictures.aperio import read_annotations
from medshards.curate.listing import list_download
from medshards.curate.masks import apply_policy
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("monuseg")
TRAIN, TEST = "MoNuSeg 2018 Training Data", "MoNuSegTestData"


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("monuseg", tmp_path)
    return tmp_path


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "monuseg")
    assert not listing.rejects
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        regions = read_annotations(case.files["regions"]).regions
        assert sample.image.size == (1000, 1000)
        assert sample.group == case.key[:12]
        assert sample.official_split == ("test" if TEST in case.files["image"].name else "train")
        assert len(sample.instances) == sum(len(r) > 2 for r in regions)
        entry = load_catalog()["monuseg"]
        kept, dropped = apply_policy(sample.instances, entry.instances, entry.min_area)
        assert abs(len(kept) - len(sample.instances)) <= len(kept) // 50  # the floor drops specks, no nuclei
        assert dropped <= len(kept) // 20
        off = []
        for instance, region in zip(sample.instances, (r for r in regions if len(r) > 2), strict=True):
            x, y, w, h = instance.region.bbox
            low, high = np.clip(region.min(0), 0, 1000), np.clip(region.max(0), 0, 1000)
            off.append(np.abs(np.array([x, y, x + w, y + h]) - np.concatenate([low, high])).max())
        assert np.median(off) <= 1  # spurs of no width cover no pixel
        grey = sample.image.pixels.astype(float).mean(axis=2)
        inside = np.logical_or.reduce([i.region.mask((1000, 1000)) for i in sample.instances])
        assert grey[inside].mean() < grey[~inside].mean() - 10  # haematoxylin is dark: polygons lie on nuclei


def test_polygons_overlap_and_are_cut_at_the_border(phantom: Path) -> None:
    sample = samples_at(SOURCE, phantom)["TCGA-A7-A13E-01Z-00-DX1"]
    assert [i.native_id for i in sample.instances] == [1, 2, 3, 4, 5]
    whole = np.pi * monuseg.RADIUS**2
    assert [i.area for i in sample.instances] == pytest.approx([whole] * 4 + [whole / 2], rel=0.03)
    first, second = (i.region.mask(monuseg.SIZE) for i in sample.instances[:2])
    assert (first & second).sum() > 20
    assert sample.lost == {"regions of fewer than 3 points": 1}
    assert sample.spacing == pytest.approx((0.000252, 0.000252))


def test_split_by_archive_and_group_by_patient(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    assert {(s.group, s.official_split) for s in found.values()} == {
        ("TCGA-A7-A13E", "train"),
        ("TCGA-B0-5710", "train"),
        ("TCGA-G9-6336", "train"),
        ("TCGA-2Z-A9J9", "test"),
    }


# Each form of name that the official archives hold.
TEST_SLIDES = (
    "TCGA-2Z-A9J9-01A-01-TS1",
    "TCGA-44-2665-01B-06-BS6",
    "TCGA-AO-A0J2-01A-01-BSA",
    "TCGA-CU-A0YN-01A-02-BSB",
    "TCGA-EJ-A46H-01A-03-TSC",
    "TCGA-HT-8564-01Z-00-DX1",
)
TRAINING_SLIDES = ("TCGA-NH-A8F7-01A-01-TS1", "TCGA-18-5592-01Z-00-DX1")


def test_every_official_name_is_read_and_the_folder_is_the_split(phantom: Path) -> None:
    image, regions = (next((phantom / TEST).glob(f"*.{suffix}")).read_bytes() for suffix in ("tif", "xml"))
    shutil.rmtree(phantom / TEST)
    shutil.rmtree(phantom / TRAIN)
    for folder, names in ((TEST, TEST_SLIDES), (TRAIN, TRAINING_SLIDES)):
        (phantom / folder).mkdir()
        for name in names:
            (phantom / folder / f"{name}.tif").write_bytes(image)
            (phantom / folder / f"{name}.xml").write_bytes(regions)
    listing = list_download(SOURCE, phantom)
    assert not listing.rejects
    splits = {case.key: case.split for case in listing.cases}
    assert splits == dict.fromkeys(TEST_SLIDES, "test") | dict.fromkeys(TRAINING_SLIDES, "train")


def test_other_folder_names(phantom: Path) -> None:
    keys = samples_at(SOURCE, phantom).keys()
    (phantom / TRAIN / "Tissue Images").rename(phantom / TRAIN / "Tissue_images")
    (phantom / TRAIN).rename(phantom / "MoNuSegTrainingData")
    assert samples_at(SOURCE, phantom).keys() == keys
    assert len(samples_at(SOURCE, phantom / "MoNuSegTrainingData")) == 3
    assert len(samples_at(SOURCE, phantom / TEST)) == 1


def test_opaque_alpha_is_dropped(phantom: Path) -> None:
    path = phantom / TRAIN / "Tissue Images/TCGA-A7-A13E-01Z-00-DX1.tif"
    expected = samples_at(SOURCE, phantom)["TCGA-A7-A13E-01Z-00-DX1"].image.pixels
    PIL.Image.open(path).convert("RGBA").save(path, compression="tiff_lzw")
    assert np.array_equal(samples_at(SOURCE, phantom)["TCGA-A7-A13E-01Z-00-DX1"].image.pixels, expected)


def test_halves_of_pairs(phantom: Path) -> None:
    (phantom / TRAIN / "Annotations/TCGA-A7-A13E-01Z-00-DX1.xml").unlink()
    (phantom / TRAIN / "Tissue Images/TCGA-B0-5710-01Z-00-DX1.tif").unlink()
    codes = {(r["code"], r["file"].split("/")[-1]) for r in list_download(SOURCE, phantom).rejects}
    assert codes == {
        ("missing_mask", "TCGA-A7-A13E-01Z-00-DX1.tif"),
        ("missing_image", "TCGA-B0-5710-01Z-00-DX1.xml"),
    }


@pytest.mark.parametrize("doubled", [True, False])
def test_kaggle_mirror_pairs_by_name_and_not_by_order(phantom: Path, tmp_path: Path, doubled: bool) -> None:
    root = tmp_path / "mirror"
    images = phantom / TRAIN / "Tissue Images"
    masks = {}
    for position, (folder, name, suffix) in enumerate(
        [
            ("kmms_training", "TCGA-18-5592-01Z-00-DX1", ".tif"),
            ("kmms_training", "TCGA-21-5784-01Z-00-DX1", ".tif"),
            ("kmms_test", "TCGA-50-5931-01Z-00-DX1", ".tif"),
            ("kmms_test", "01_1", ".png"),
            ("kmms_test", "01_2", ".png"),
        ]
    ):
        base = root / folder / (folder if doubled else ".")
        (base / "images").mkdir(parents=True, exist_ok=True)
        (base / "masks").mkdir(exist_ok=True)
        picture = PIL.Image.open(next(images.iterdir()))
        picture.save(base / f"images/{name}{suffix}")
        masks[name] = np.zeros(monuseg.SIZE, np.uint8)
        masks[name][10:20, 10 : 20 + position] = 255
        masks[name][60:70, 10:20] = 255
        blank = " " if folder == "kmms_training" else ""
        PIL.Image.fromarray(masks[name]).save(base / f"masks/{name}{blank}.png")
    found = samples_at(SOURCE, root)
    assert found.keys() == masks.keys()
    for name, sample in found.items():
        assert sample.instances[0].area == (masks[name] == 255).sum()
        assert len(apply_policy(sample.instances, "components", 5)[0]) == 2
    assert {k: (s.group, s.official_split) for k, s in found.items()} == {
        "TCGA-18-5592-01Z-00-DX1": ("TCGA-18-5592", "train"),
        "TCGA-21-5784-01Z-00-DX1": ("TCGA-21-5784", "train"),
        "TCGA-50-5931-01Z-00-DX1": ("TCGA-50-5931", "test"),
        "01_1": ("01", "test"),
        "01_2": ("01", "test"),
    }


def test_region_outside_the_image_is_an_error_of_the_file(phantom: Path) -> None:
    path = phantom / TRAIN / "Annotations/TCGA-A7-A13E-01Z-00-DX1.xml"
    path.write_text(monuseg.xml([(20, 20), (500, 500)]))
    case = next(c for c in list_download(SOURCE, phantom).cases if "A13E" in c.key)
    with pytest.raises(Reject, match="bad_annotations"):
        list(SOURCE.load(case))
