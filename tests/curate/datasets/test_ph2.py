"""PH²: 1-bit and 24-bit BMP masks; colour classes and JPEGs beside them are no labels."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("ph2")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("ph2", tmp_path)
    return tmp_path / "PH2Dataset/PH2 Dataset images"


def test_real_samples(samples: Path) -> None:
    listing = list_download(SOURCE, samples / "ph2")
    assert not listing.rejects
    assert {c.key for c in listing.cases} == {p.name for p in (samples / "ph2").glob("**/IMD[0-9][0-9][0-9]")}
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        folder = case.files["image"].path.parents[1]
        picture = PIL.Image.open(folder / f"{case.key}_lesion/{case.key}_lesion.bmp").convert("L")
        (lesion,) = sample.instances
        assert lesion.concept == "skin_lesion"
        assert np.array_equal(lesion.region.mask(sample.image.size), np.asarray(picture) > 127), case.key
        assert 13_863 <= lesion.area <= 434_894  # range over all 200 cases
        assert sample.image.pixels.shape == (*sample.image.size, 3)


def test_masks_of_one_bit_and_of_24_bits(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    modes = {}
    for key, sample in found.items():
        picture = PIL.Image.open(phantom / key / f"{key}_lesion/{key}_lesion.bmp")
        modes[key] = picture.mode
        drawn = np.asarray(picture.convert("L")) > 127
        assert np.array_equal(sample.instances[0].region.mask(drawn.shape), drawn), key
    assert modes == {"IMD002": "RGB", "IMD003": "1", "IMD004": "1", "IMD437": "1"}


def test_lesion_may_fill_the_frame(phantom: Path) -> None:
    sample = samples_at(SOURCE, phantom)["IMD437"]
    assert sample.instances[0].area == sample.image.pixels[:, :, 0].size


def test_jpeg_does_not_stand_in_for_the_mask(phantom: Path) -> None:
    (phantom / "IMD003/IMD003_lesion/IMD003_lesion.bmp").unlink()
    (phantom / "IMD004/IMD004_Dermoscopic_Image/IMD004.bmp").unlink()
    assert (phantom / "IMD003/IMD003_lesion/IMD003_lesion.jpg").exists()
    assert {(r["code"], r["file"]) for r in list_download(SOURCE, phantom).rejects} == {
        ("missing_mask", "IMD003/IMD003_Dermoscopic_Image/IMD003.bmp"),
        ("missing_image", "IMD004/IMD004_lesion/IMD004_lesion.bmp"),
        ("unread", "IMD003/IMD003_lesion"),
    }


def test_renumbered_copy_is_not_recognised(phantom: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "kaggle" / folder).mkdir(parents=True)
        PIL.Image.new("L", (54, 40)).save(tmp_path / "kaggle" / folder / "0.png")
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, tmp_path / "kaggle")


def test_soft_mask_is_refused(phantom: Path) -> None:
    PIL.Image.new("L", (54, 40), 128).save(phantom / "IMD003/IMD003_lesion/IMD003_lesion.bmp")
    with pytest.raises(Reject, match=r"IMD003_lesion.bmp: unknown_label"):
        samples_at(SOURCE, phantom)
