"""COVID-QU-Ex: the lung tree, or the infection tree alone; masks by name inside one class folder; never twice."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject, Sample
from medshards.curate.source import get_source
from tests.samples import samples_of

SOURCE = get_source("covid_qu_ex")
LUNG, INFECTION = "Lung Segmentation Data", "Infection Segmentation Data"


def load_all(root: Path) -> dict[str, Sample]:
    """Samples by the path of their image from the split's folder on, as published."""
    cases = list_download(SOURCE, root).cases
    return {
        "/".join(case.files["image"].path.parts[-4:]): sample
        for case in cases
        for sample in samples_of(SOURCE, case)
    }


def published(root: Path, name: str) -> str:
    """Path below `root` of the file that the project gives a name."""
    (tree, *_) = SOURCE.open(root)
    return next(f.path.relative_to(root).as_posix() for f in tree.files.values() if f.name == name)


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("covid_qu_ex", tmp_path / "covidqu")
    return tmp_path / "covidqu"


def test_real_samples(real: Path) -> None:
    listing = list_download(SOURCE, real)
    images = sorted(real.glob("**/images/*.png"))
    assert images
    assert not listing.rejects
    assert len(listing.cases) + len(listing.skips) == len(images)
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        folder = case.files["image"].path.parent.parent
        assert case.split == folder.parent.name.lower()
        drawn = {
            concept: np.asarray(PIL.Image.open(folder / masks / case.files["image"].path.name)) == 255
            for concept, masks in (("lung", "lung masks"), ("covid_19_infection", "infection masks"))
            if (folder / masks).is_dir()
        }
        assert {i.concept for i in sample.instances} == set(drawn) == set(sample.concepts or ())
        for instance in sample.instances:
            assert np.array_equal(instance.region.mask(sample.image.size), drawn[instance.concept]), case.key
        if folder.name != "COVID-19":
            assert sum(i.area for i in sample.instances if i.label == "infection") == 0


def test_subset_is_passed_over_where_the_whole_is(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert all(LUNG in case.files["image"].path.parts for case in listing.cases)
    assert {reason for _, reason in listing.skips} == {"infection tree, a subset of the lung tree beside it"}
    assert all(sample.concepts == ("lung",) for sample in load_all(phantom).values())


def test_subset_alone_has_both_masks(phantom: Path) -> None:
    shutil.rmtree(phantom / LUNG)
    found = load_all(phantom)
    assert len(found) == 3
    for key, sample in found.items():
        assert sample.concepts == ("covid_19_infection", "lung")
        (infection,) = [i for i in sample.instances if i.label == "infection"]
        assert (infection.area > 0) == ("COVID-19" in key)


def test_incomplete_image_of_the_subset_is_refused_whole(phantom: Path) -> None:
    shutil.rmtree(phantom / LUNG)
    folder = phantom / INFECTION / INFECTION / "Test/COVID-19"
    (folder / "infection masks/covid_1.png").unlink()
    rejects = list_download(SOURCE, phantom).rejects
    assert {r["code"] for r in rejects} == {"missing_mask"}
    assert sorted(published(phantom, r["file"]).split("/")[-2] for r in rejects) == ["images", "lung masks"]


def test_subset_whose_normal_images_have_no_infection_folder_is_still_the_subset(phantom: Path) -> None:
    shutil.rmtree(phantom / INFECTION / INFECTION / "Test/Normal/infection masks")
    assert all(LUNG in case.files["image"].path.parts for case in list_download(SOURCE, phantom).cases)


@pytest.mark.parametrize("root", [LUNG, f"{LUNG}/{LUNG}", f"{LUNG}/{LUNG}/Train"])
def test_root_may_be_any_folder_of_the_tree(phantom: Path, root: str) -> None:
    assert len(load_all(phantom / root)) == 9


def test_equal_names_in_two_splits_are_two_samples(phantom: Path) -> None:
    found = load_all(phantom)
    normal = [key for key in found if "Normal" in key]
    assert len(normal) == len(set(normal)) == 3
    assert {found[key].official_split for key in normal} == {"train", "val", "test"}


def test_missing_halves_and_grey_masks_are_named(phantom: Path) -> None:
    folder = phantom / LUNG / LUNG / "Train"
    (folder / "Normal/lung masks/Normal (3).png").unlink()
    (folder / "COVID-19/images/covid_1.png").unlink()
    assert {
        (r["code"], published(phantom, r["file"]).rpartition("Train/")[2])
        for r in list_download(SOURCE, phantom).rejects
    } == {
        ("missing_mask", "Normal/images/Normal (3).png"),
        ("missing_image", "COVID-19/lung masks/covid_1.png"),
    }
    mask = folder / "Non-COVID/lung masks/non_COVID (2).png"
    PIL.Image.fromarray(np.full((64, 64), 128, np.uint8)).save(mask)
    with pytest.raises(Reject, match=r"^[0-9a-f/]{33}\.png: unknown_label"):
        load_all(phantom)


def test_the_radiography_database_is_another_dataset(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "COVID-19_Radiography_Dataset/COVID" / folder).mkdir(parents=True)
        PIL.Image.new("L", (29, 29)).save(
            tmp_path / f"COVID-19_Radiography_Dataset/COVID/{folder}/COVID-1.png"
        )
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, tmp_path)
