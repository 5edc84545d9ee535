"""BCSS: class codes of real masks, the frame of stroma left out, rotated regions whole, tiles refused."""

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medshards.curate.datasets.breast_cancer_seg.converter import without_frame
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("breast_cancer_seg")
RELEASE = "0_Public-data-Amgad2019_0.25MPP"


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("breast_cancer_seg", tmp_path)
    return tmp_path / RELEASE


def test_real_masks_with_made_up_images(samples: Path, tmp_path: Path) -> None:
    """The samples hold masks only, so each gets a picture of its size."""
    shutil.copytree(samples / "breast_cancer_seg", tmp_path / "raw")
    found = sorted((tmp_path / "raw").rglob("masks/*.png"))
    (found[0].parents[1] / "rgbs_colorNormalized").mkdir()
    codes = {}
    for path in found:
        mask = np.array(PIL.Image.open(path))
        codes[path.stem.rpartition("_")[0]] = mask
        picture = PIL.Image.new("RGB", mask.shape[::-1], (230, 180, 210))
        picture.save(path.parents[1] / "rgbs_colorNormalized" / path.name, compress_level=1)
    listing = list_download(SOURCE, tmp_path / "raw")
    assert not listing.rejects
    assert len(listing.cases) == len(found)
    values = {name: value for value, name in SOURCE.labels.by_value().items()}
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        mask = codes[sample.key]
        assert (sample.group, sample.spacing) == (sample.key[:12], (0.00025, 0.00025))
        labelled = set(np.unique(mask)) - {0, 7, 15, 21}
        assert {values[i.label] for i in sample.instances} == labelled
        height, width = mask.shape
        for instance in sample.instances:
            area = int((mask == values[instance.label]).sum())
            expected = area - sample.lost.get("px of the frame of stroma", 0) * (instance.label == "stroma")
            assert instance.area == expected, (sample.key, instance.label)
        ring = 2 * (height + width) - 4
        assert (
            sample.lost.get("px of the frame of stroma", 0) in range(int(0.9 * ring), ring + 1) or 0 in mask
        )


def test_frame_is_left_out_and_counted(phantom: Path) -> None:
    found = samples_at(SOURCE, phantom)
    upright = found["TCGA-A1-A0SK-DX1_xmin45749_ymin25055"]
    assert upright.lost == {"px of the frame of stroma": 2 * (120 + 150) - 4}
    stroma = next(i for i in upright.instances if i.label == "stroma").region.mask((120, 150))
    assert stroma.any()
    assert not stroma[[0, -1]].any()
    assert not stroma[:, [0, -1]].any()
    rotated = found["TCGA-D8-A27M-DX1_xmin45749_ymin25055"]
    assert rotated.lost == {}


def test_ring_of_real_tissue_stays() -> None:
    codes = np.full((50, 60), 2, np.uint8)
    codes[:20] = 1  # a border of tumour and stroma
    kept, count = without_frame(codes)
    assert count == 0
    assert np.array_equal(kept, codes)


def test_outside_and_excluded_are_no_instances(phantom: Path) -> None:
    rotated = samples_at(SOURCE, phantom)["TCGA-D8-A27M-DX1_xmin45749_ymin25055"]
    assert {i.label for i in rotated.instances} == {"tumor", "stroma"}


def test_split_by_site_and_group_by_patient(phantom: Path) -> None:
    assert {(s.group, s.official_split) for s in samples_at(SOURCE, phantom).values()} == {
        ("TCGA-A1-A0SK", "train"),
        ("TCGA-A2-A0SX", "train"),
        ("TCGA-D8-A27M", "train"),
        ("TCGA-S3-AA15", "test"),
    }


@pytest.mark.parametrize("suffix", ["MPP-0.2500", "MAG-40.00", "MAG-0"])
def test_names_and_folders_of_the_download_script(phantom: Path, suffix: str) -> None:
    keys = samples_at(SOURCE, phantom).keys()
    (phantom / "rgbs_colorNormalized").rename(phantom / "images")
    for path in [*phantom.glob("images/*.png"), *phantom.glob("masks/*.png")]:
        path.rename(path.with_name(path.name.replace("MPP-0.2500", suffix)))
    found = samples_at(SOURCE, phantom)
    assert found.keys() == keys
    assert {s.spacing for s in found.values()} == {(0.00025, 0.00025) if suffix.startswith("MPP") else None}


def test_unknown_code_is_named(phantom: Path) -> None:
    path = next((phantom / "masks").iterdir())
    mask = np.array(PIL.Image.open(path))
    mask[60, 60] = 22
    PIL.Image.fromarray(mask).save(path)
    with pytest.raises(Reject, match=r"unknown_label.*22 \(1 px\)"):
        samples_at(SOURCE, phantom)


def test_sizes_must_agree(phantom: Path) -> None:
    path = next((phantom / "masks").iterdir())
    PIL.Image.open(path).crop((0, 0, 149, 120)).save(path)
    with pytest.raises(Reject, match="size_mismatch"):
        samples_at(SOURCE, phantom)


def test_halves_of_pairs(phantom: Path) -> None:
    first, second, *_ = sorted(p.name for p in (phantom / "masks").iterdir())
    (phantom / "masks" / first).unlink()
    (phantom / "rgbs_colorNormalized" / second).unlink()
    codes = {r["code"]: Path(r["file"]).name for r in list_download(SOURCE, phantom).rejects}
    assert codes == {"missing_mask": first, "missing_image": second}


def test_kaggle_tiles_are_refused(phantom: Path) -> None:
    (phantom / "rgbs_colorNormalized").rename(phantom / "train_512")
    (phantom / "masks").rename(phantom / "train_mask_512")
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, phantom)


def test_tiles_in_the_folders_of_the_release_are_refused(phantom: Path) -> None:
    for path in [*phantom.glob("rgbs*/*.png"), *phantom.glob("masks/*.png")]:
        path.rename(path.with_name(path.name.replace("MPP-0.2500", "MPP-0_0_512_size512")))
    listing = list_download(SOURCE, phantom)
    assert {r["code"] for r in listing.rejects} == {"not_native"}
    assert not listing.cases
