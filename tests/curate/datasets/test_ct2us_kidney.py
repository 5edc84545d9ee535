"""CT2USforKidneySeg: doubled folders, either foreground value, soft borders, groups by scan or block."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.ct2us_kidney import phantom as ct2us_kidney
from medshards.curate.listing import list_download
from medshards.curate.phantoms import draw, write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at

SOURCE = get_source("ct2us_kidney")


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("ct2us_kidney", tmp_path)
    return tmp_path


def test_masks_of_either_foreground_value(phantom: Path) -> None:
    kidney = draw.ellipse(ct2us_kidney.SIZE, (32, 16), (12, 8))
    found = samples_at(SOURCE, phantom)
    for key in ("100", "250"):
        assert np.array_equal(found[key].instances[0].region.mask(ct2us_kidney.SIZE), kidney)
    assert found["1"].instances[0].area == 0
    assert found["0"].instances[0].area == 2 * kidney.sum()


def test_soft_borders_are_cut_in_the_middle(phantom: Path) -> None:
    grey = np.zeros(ct2us_kidney.SIZE, np.uint8)
    grey[10:20, 10:20] = 100
    grey[12:18, 12:18] = 200
    PIL.Image.fromarray(grey).save(phantom / "mask/mask/100.png")
    assert samples_at(SOURCE, phantom)["100"].instances[0].area == 36


def test_folders_that_are_not_doubled(phantom: Path) -> None:
    expected = samples_at(SOURCE, phantom)
    for kind in ("slice", "mask"):
        (phantom / kind).rename(phantom / "old")
        (phantom / "old" / kind).rename(phantom / kind)
        (phantom / "old").rmdir()
    found = samples_at(SOURCE, phantom)
    assert found.keys() == expected.keys()
    assert {k: s.group for k, s in found.items()} == {k: s.group for k, s in expected.items()}


def test_groups_are_blocks_of_numbers(phantom: Path) -> None:
    assert {k: s.group for k, s in samples_at(SOURCE, phantom).items()} == {
        "0": "block-0000",
        "1": "block-0000",
        "99": "block-0000",
        "100": "block-0001",
        "101": "block-0001",
        "250": "block-0002",
    }


def test_groups_are_scans_where_names_tell(phantom: Path) -> None:
    for number, name in ((0, "case_00012_034"), (1, "case_00012_035"), (99, "case_00123_001")):
        for kind in ("slice", "mask"):
            path = phantom / kind / kind / f"{number}.png"
            path.rename(path.with_stem(name))
    found = samples_at(SOURCE, phantom)
    assert found["case_00012_034"].group == found["case_00012_035"].group == "case-00012"
    assert found["case_00123_001"].group == "case-00123"


def test_halves_of_pairs_and_sizes(phantom: Path) -> None:
    (phantom / "mask/mask/0.png").unlink()
    (phantom / "slice/slice/1.png").unlink()
    listing = list_download(SOURCE, phantom)
    assert {(r["code"], Path(r["file"]).name) for r in listing.rejects} == {
        ("missing_mask", "0.png"),
        ("missing_image", "1.png"),
    }
    path = phantom / "mask/mask/100.png"
    PIL.Image.open(path).resize((32, 32)).save(path)
    with pytest.raises(Reject, match="size_mismatch"):
        samples_at(SOURCE, phantom)
