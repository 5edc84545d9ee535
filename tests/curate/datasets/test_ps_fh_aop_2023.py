"""PS-FH-AOP 2023: one picture in three planes, both classes, runs of like frames, the sister set's numbers."""

import shutil
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medshards.curate.datasets.acouslic.phantom import save_mha
from medshards.curate.datasets.ps_fh_aop_2023 import phantom as ps_fh_aop_2023
from medshards.curate.listing import list_download
from medshards.curate.phantoms import write_phantom
from medshards.curate.sample import Reject
from medshards.curate.source import get_source
from tests.samples import samples_at, samples_of

SOURCE = get_source("ps_fh_aop_2023")
TOP = "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    write_phantom("ps_fh_aop_2023", tmp_path)
    return tmp_path / TOP


def test_real_samples(samples: Path) -> None:
    (native,) = (samples / "ps_fh_aop_2023").glob("Pubic*")
    listing = list_download(SOURCE, native)
    assert not listing.rejects
    assert listing.cases
    for case in listing.cases:
        (sample,) = samples_of(SOURCE, case)
        planes = sitk.GetArrayFromImage(sitk.ReadImage(str(case.files["image"].path)))
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(case.files["mask"].path)))
        assert np.array_equal(sample.image.pixels, planes[0])
        assert {i.concept: i.area for i in sample.instances} == {
            "pubic_symphysis": int((values == 1).sum()),
            "fetal_head": int((values == 2).sum()),
        }
        for instance in sample.instances:
            value = 1 if instance.concept == "pubic_symphysis" else 2
            assert np.array_equal(instance.region.mask(values.shape), values == value)
        assert sample.spacing is None  # the header's 1 mm is a dummy


def test_groups_are_runs_of_like_frames(phantom: Path) -> None:
    groups = {c.key: c.group for c in list_download(SOURCE, phantom).cases}
    assert groups == {
        "00001": "run-00001",
        "00002": "run-00001",
        "00003": "run-00001",
        "00004": "run-00004",
        "00005": "run-00004",
    }


def test_real_frames_of_different_videos_are_different_groups(samples: Path) -> None:
    """Published breaks (neighbours correlate below 0.6) lie between any two of these numbers."""
    breaks = [3758, 3786, 3821, 3823, 3846, 3850, 3873, 3915, 3966, 3967, 3982, 3986, 3998]
    cases = list_download(SOURCE, samples / "ps_fh_aop_2023").cases
    for a, b in pairwise(cases):
        if any(int(a.key) < first <= int(b.key) for first in breaks) and int(b.key) - int(a.key) > 20:
            assert a.group != b.group, (a.key, b.key)


def test_numbers_of_the_sister_set_are_passed_over(phantom: Path) -> None:
    listing = list_download(SOURCE, phantom)
    assert {Path(name).stem for name, _ in listing.skips} == {"04001"}
    assert {reason for _, reason in listing.skips} == {"test case, found in the sister set PSFHS"}
    for path in phantom.glob("*_mha/0000?.mha"):
        path.unlink()
    with pytest.raises(Reject, match="not_recognised"):
        list_download(SOURCE, phantom)


def test_zip_in_a_zip(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSHARDS_CACHE", str(tmp_path / "cache"))
    inner = tmp_path / f"{TOP}.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for path in phantom.rglob("*.mha"):
            archive.write(path, path.relative_to(tmp_path))
    (tmp_path / "raw").mkdir()
    with zipfile.ZipFile(tmp_path / "raw/download.zip", "w") as archive:
        archive.write(inner, inner.name)
    shutil.rmtree(phantom)
    assert len(samples_at(SOURCE, tmp_path / "raw")) == 5


def test_coloured_planes_become_a_colour_picture(phantom: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 256, (3, *ps_fh_aop_2023.SIZE), np.uint8)
    save_mha(phantom / "image_mha/00002.mha", planes, (1, 1, 1))
    assert np.array_equal(samples_at(SOURCE, phantom)["00002"].image.pixels, planes.transpose(1, 2, 0))


def test_volumes_and_other_values_are_refused(phantom: Path) -> None:
    image, label = phantom / "image_mha/00002.mha", phantom / "label_mha/00002.mha"
    case = next(c for c in list_download(SOURCE, phantom).cases if c.key == "00002")
    save_mha(label, np.full(ps_fh_aop_2023.SIZE, 3, np.uint8), (1, 1))
    with pytest.raises(Reject, match=r"label_mha/00002\.mha: unknown_label"):
        list(SOURCE.load(case))
    save_mha(label, np.ones((39, 40), np.uint8), (1, 1))
    with pytest.raises(Reject, match="size_mismatch"):
        list(SOURCE.load(case))
    save_mha(image, np.zeros((5, *ps_fh_aop_2023.SIZE), np.uint8), (1, 1, 1))
    with pytest.raises(Reject, match=r"image_mha/00002\.mha: unsupported_image"):
        list(SOURCE.load(case))


def test_an_unreadable_frame_is_refused_and_the_others_are_not(phantom: Path) -> None:
    (phantom / "image_mha/00002.mha").write_bytes(b"cut")
    listing = list_download(SOURCE, phantom)
    assert len(listing.cases) == 5
    with pytest.raises(Reject, match="unreadable"):
        list(SOURCE.load(list(listing.cases)[1]))
    assert {c.key: c.group for c in listing.cases}["00003"] != "run-00001"


def test_halves_of_pairs(phantom: Path) -> None:
    (phantom / "label_mha/00001.mha").unlink()
    (phantom / "image_mha/00005.mha").unlink()
    rejects = list_download(SOURCE, phantom).rejects
    assert {(r["code"], Path(r["file"]).name) for r in rejects} == {
        ("missing_mask", "00001.mha"),
        ("missing_image", "00005.mha"),
    }
